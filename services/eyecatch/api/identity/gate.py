"""The way into each rpc where callers are known: whose call it is, and whether it may. Knows no service.

A call is read only after that: bytes of strangers meet no parser.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Any

import grpc

from eyecatch.api import status
from eyecatch.api.admission import Stream, Unary
from eyecatch.api.identity.audit import AuditLog
from eyecatch.api.identity.callers import Caller, Callers, token_digest
from eyecatch.api.identity.quotas import Quotas
from eyecatch.api.identity.rights import RIGHTS, Right
from eyecatch.core.errors import Denied, EyecatchError, Unauthenticated, shorten
from eyecatch.core.limits import MAX_GENERATE
from eyecatch.v1 import covers_pb2

if TYPE_CHECKING:
    from eyecatch.api.identity.web_tokens import WebTokens

Parse = Callable[[Any], Any]
SCHEME = "bearer "


class Gate:
    """`callers` may be replaced while calls run. `anybody`: as who those are let in who are not known.

    `web_tokens`: None refuses all of them.
    """

    def __init__(self, callers: Callers, audit: AuditLog | None = None, anybody: Caller | None = None) -> None:
        self.callers, self._audit, self._anybody = callers, audit, anybody
        self.web_tokens: WebTokens | None = None
        self._quotas = Quotas()

    def unary(self, call: Unary, parse: Parse, method: str) -> Unary:
        """`call` for bytes. `method`: "package.Service/Method", which needs the right of RIGHTS."""
        right, name = RIGHTS[method], _short(method)
        audit = self._audit if right is Right.ADMIN else None

        async def guarded(data: Any, context: Any) -> Any:
            try:
                caller = self._admit(context, right, name)
            except EyecatchError as error:
                await status.abort(context, error)
            request = parse(data)
            with audit.call(name, caller, request, context) if audit else nullcontext():
                return await call(request, context)

        return guarded

    def stream(self, call: Stream, parse: Parse, method: str) -> Stream:
        """The same of a stream. A method that RIGHTS does not have is for every known caller."""
        right, name = RIGHTS.get(method), _short(method)

        async def guarded(data: Any, context: Any) -> AsyncGenerator[Any]:
            try:
                caller = self._admit(context, right, name)
                request = parse(data)
                if isinstance(request, covers_pb2.GenerateCoversRequest):
                    self._quotas.covers(caller, min(max(request.count, 1), MAX_GENERATE))
            except EyecatchError as error:
                await status.abort(context, error)
            async with aclosing(call(request, context)) as responses:
                async for response in responses:
                    yield response

        return guarded

    def _admit(self, context: Any, right: Right | None, name: str) -> Caller:
        """Raises Unauthenticated, Denied, Overloaded."""
        caller = self._caller(context)
        self._quotas.call(caller)  # first: refusals are work too, and lines of the audit log
        if right is not None and right not in caller.rights:
            if self._audit is not None and right is Right.ADMIN:
                self._audit.write(name, caller=caller.name, outcome=grpc.StatusCode.PERMISSION_DENIED.name)
            what = f"{name} needs the right {right.value!r}"
            raise Denied(f"{what}; the caller {shorten(caller.name)} has {', '.join(sorted(caller.rights))}")
        return caller

    def _caller(self, context: Any) -> Caller:
        """Of the token if there is one, else of the certificate. Raises Unauthenticated."""
        header = next((value for key, value in context.invocation_metadata() if key == "authorization"), None)
        if header is None:
            caller = self.callers.of_certificate(_names(context.auth_context()))
        elif header[: len(SCHEME)].lower() == SCHEME:
            caller = self._of_token(header[len(SCHEME) :])
        else:
            caller = None
        caller = caller or self._anybody
        if caller is None:
            raise Unauthenticated(
                "send the metadata 'authorization: Bearer <token>', or use a certificate of a known caller"
            )
        return caller

    def _of_token(self, token: str) -> Caller | None:
        digest = token_digest(token)
        caller = self.callers.of_token(digest)
        if caller is None and self.web_tokens is not None:
            subject = self.web_tokens.subject(token, digest)
            caller = self.callers.of_subject(subject)
            if caller is None:
                raise Unauthenticated(f"no caller has the subject {shorten(subject)}")
        return caller


def _short(method: str) -> str:
    """ "package.Service/Method" -> "Method"."""
    return method.rpartition("/")[2]


def _names(peer: dict[str, Sequence[bytes]]) -> list[str]:
    """Of the peer's certificate, if it has one."""
    names = peer.get("x509_subject_alternative_name") or peer.get("x509_common_name") or ()
    return [name.decode(errors="replace") for name in names]
