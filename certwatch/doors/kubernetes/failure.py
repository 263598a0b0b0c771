"""What an API server refuses, and what keeps it from answering: one line each, without where."""

import socket

import httpx
import msgspec

from certwatch.model.observation import ErrorKind, LookError


class RequestFailed(Exception):
    """`message`: what the server or the network said; one line, printable, without where."""

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message
        #: HTTP status. 0: there was no answer.
        self.status = status
        #: The API's own word: "Forbidden", "Expired". Empty: none.
        self.reason = reason
        #: Seconds that the server asks to wait. None: it does not say.
        self.retry_after = retry_after

    @property
    def is_unreachable(self) -> bool:
        """Nothing else of this cluster can be had either. A connection that was cut says nothing of the next one."""
        return self.status == 401 or (self.status == 0 and self.kind not in ("reset", "malformed"))

    def at(self, where: str, what_to_do: str) -> LookError:
        return LookError(kind=self.kind, message=f"{where}: {self.message}. {what_to_do}")


class _StatusDetails(msgspec.Struct):
    retry_after: int = msgspec.field(default=0, name="retryAfterSeconds")


class Status(msgspec.Struct):
    """What the API says of a failure."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _StatusDetails | None = None


_decode_status = msgspec.json.Decoder(Status).decode


def refused(code: int, retry_after: str, data: bytes) -> RequestFailed:
    """Of an answer with another status than wanted. `retry_after`: its header; empty: none. `data`: its body, as far as it
    was read."""
    try:
        status = _decode_status(data)
    except (msgspec.DecodeError, RecursionError):
        status = Status()
    retry: float | None = None
    if retry_after.isdigit() and len(retry_after) < 6:
        retry = float(retry_after)
    elif status.details is not None and status.details.retry_after > 0:
        retry = float(status.details.retry_after)
    kinds: dict[int, ErrorKind] = {401: "permission", 403: "permission", 404: "not-found"}
    return RequestFailed(
        kinds.get(code, "other"),
        refusal(code, status),
        status=code,
        reason=status.reason,
        retry_after=retry,
    )


def refusal(code: int, status: Status) -> str:
    shown = "".join(each if each.isprintable() else "." for each in status.message[:300])
    return f"{code} {shown or status.reason or 'without a reason'}"


def line_of(error: Exception) -> str:
    return "".join(each if each.isprintable() else "." for each in str(error)[:200]) or type(error).__name__


def no_answer(error: Exception) -> RequestFailed:
    """Of what httpx raised."""
    said = line_of(error)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return RequestFailed("timeout", "no answer in time")
    if isinstance(error, httpx.ConnectError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, socket.gaierror):
                return RequestFailed("dns", "its name is not known")
            if isinstance(cause, ConnectionRefusedError):
                return RequestFailed("refused", "the connection was refused")
            cause = cause.__cause__ or cause.__context__
        kind: ErrorKind = "tls-alert" if "SSL" in said or "CERTIFICATE" in said.upper() else "unreachable"
        return RequestFailed(kind, said)
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | RuntimeError):
        return RequestFailed("reset", f"the connection was cut: {said}")
    return RequestFailed("other", said)
