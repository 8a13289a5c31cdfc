"""The audit log: who deleted or read what of one user or item, and whose rights changed; one JSON object a line. No user id is in it."""

import hmac
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import structlog

from eyecatch.api.identity.callers import Caller
from eyecatch.core.errors import InvalidInput
from eyecatch.core.limits import MAX_ID
from eyecatch.core.ports import Notes

log = structlog.get_logger(__name__)

KEY_NOTE = "audit-key"
KEY_BYTES = 32


def user_digest(key: bytes, user_id: str) -> str:
    """`user` of an entry."""
    return hmac.digest(key, user_id.encode(), "sha256").hex()[:32]


class AuditLog:
    """Appends to a file, which may be moved away at any time. `key` comes later, from the store."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput if the file cannot be written."""
        self._path = path
        self._key = b""
        try:
            self._append("")
        except OSError as error:
            raise InvalidInput.of("audit_log", str(path), f"a file that can be written ({error.strerror})") from error

    async def take_key(self, notes: Notes) -> None:
        """Use the store's key for digests of user ids; make one if it has none. Without it nobody can try ids on a log."""
        await notes.replace(KEY_NOTE, None, os.urandom(KEY_BYTES))
        self._key = await notes.read(KEY_NOTE) or b""

    @contextmanager
    def call(self, rpc: str, caller: Caller, request: Any, context: Any) -> Iterator[None]:
        """Write what became of a call. `rpc`: its short name."""
        outcome = grpc.StatusCode.OK.name
        try:
            yield
        except BaseException:
            code = context.code()
            is_known = isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK
            outcome = code.name if is_known else grpc.StatusCode.CANCELLED.name
            raise
        finally:
            self.write(rpc, caller=caller.name, outcome=outcome, **self._target(request))

    def rights(self, before: Mapping[str, Caller], after: Mapping[str, Caller]) -> None:
        """Write who was added or changed, with the rights of now, and who was removed; nothing if that is nobody."""
        added = {name: sorted(after[name].rights) for name in sorted(after.keys() - before.keys())}
        changed = {n: sorted(after[n].rights) for n in sorted(after.keys() & before.keys()) if after[n] != before[n]}
        removed = sorted(before.keys() - after.keys())
        if added or changed or removed:
            self.write("callers", added=added, changed=changed, removed=removed)

    def write(self, action: str, **fields: object) -> None:
        """A log that cannot be written does not stop the service; the log of the process says so."""
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "action": action, **fields}
        try:
            self._append(json.dumps(entry) + "\n")
        except OSError as error:
            log.error("audit_log_not_written", why=error.strerror, action=action)

    def _append(self, text: str) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def _target(self, request: Any) -> dict[str, str]:
        names = {"user_id": "user", "item_id": "item", "cover_id": "cover"}
        target = {short: value for name, short in names.items() if (value := getattr(request, name, "")[:MAX_ID])}
        if "user" in target:
            target["user"] = user_digest(self._key, target["user"])
        return target
