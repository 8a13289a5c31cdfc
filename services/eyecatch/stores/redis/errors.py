"""Errors of Redis and its client -> errors of the core. Messages name the server's problem, never a key or a value."""

import re

from redis import exceptions as redis

from eyecatch.core.errors import EyecatchError, StoreError, StoreFull, Unavailable

# The error of a script quotes the server's own error: "... @user_script: 7: -OOM command not allowed ..."
_CODE = re.compile(
    r"\b(OOM|MISCONF|READONLY|NOREPLICAS|CLUSTERDOWN|MASTERDOWN|LOADING|TRYAGAIN|NOAUTH|WRONGPASS|NOPERM"
    r"|BUSY|UNKILLABLE|NOSCRIPT|EXECABORT)\b"
)
_CODES = {
    redis.OutOfMemoryError: "OOM",
    redis.ReadOnlyError: "READONLY",
    redis.MasterDownError: "MASTERDOWN",
    redis.ClusterDownError: "CLUSTERDOWN",
    redis.BusyLoadingError: "LOADING",
    redis.NoPermissionError: "NOPERM",
    redis.AuthenticationError: "NOAUTH",
    redis.TryAgainError: "TRYAGAIN",
    redis.NoScriptError: "NOSCRIPT",
    redis.ExecAbortError: "EXECABORT",
}


def translate(error: Exception) -> tuple[EyecatchError, bool]:
    """(error of the core, whether the same commands may succeed in a moment)."""
    known = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    quoted = _CODE.search(str(error))
    match known or (quoted[1] if quoted else ""):
        case "OOM":
            return StoreFull(
                "Redis has no memory left (maxmemory, noeviction); raise maxmemory or add nodes", 30.0
            ), False
        case "MISCONF":
            return StoreFull(
                "Redis cannot write its disk and refuses writes; free space on the disk of its AOF and RDB", 30.0
            ), False
        case "READONLY":
            return Unavailable("Redis is read-only (a replica, or during a failover); point --store at a primary"), True
        case "NOREPLICAS":
            return Unavailable("Redis refuses writes without enough replicas (min-replicas-to-write)"), True
        case "NOAUTH" | "WRONGPASS" | "NOPERM":
            return StoreError("Redis refuses our user or password; check the user, its password and its ACL"), False
        case "BUSY" | "UNKILLABLE":
            return Unavailable("Redis runs a long script of another client (BUSY); SCRIPT KILL ends it"), True
        case "":
            pass
        case code:
            return Unavailable(f"Redis is not ready ({code})"), True
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return Unavailable("Redis does not answer in time"), True
    if isinstance(error, redis.ResponseError) and not isinstance(error, redis.MovedError | redis.AskError):
        return StoreError(
            f"Redis refuses a command ({str(error).split(',')[0][:80]}); eyecatch needs Redis 6.2 or later"
        ), False
    return Unavailable(f"Redis does not answer ({type(error).__name__})"), True
