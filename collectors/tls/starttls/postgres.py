"""PostgreSQL."""

from certwatch.doors.dialogue import Dialogue, Send
from certwatch.doors.failure import LookFailed, shown

#: Length 8 and the code that stands where a version would (PostgreSQL, 55.2.10 and 55.7, SSLRequest).
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


def _one_byte(buffer: bytes) -> int | None:
    return 1 if buffer else None


def postgres(where: str, server_name: str | None = None) -> Dialogue:
    """SSLRequest. One byte answers; whatever follows it in the clear is an attack (CVE-2021-23222)."""
    answer = yield Send(SSL_REQUEST, _one_byte)
    if answer == b"N":
        raise LookFailed(
            "not-tls", f"{where}: PostgreSQL has no TLS here. Set ssl = on, or remove the target."
        )
    if answer == b"E":
        raise LookFailed(
            "not-tls", f"{where}: PostgreSQL answered SSLRequest with an error. See its log: it may be full."
        )
    if answer != b"S":
        raise LookFailed(
            "malformed",
            f"{where}: answered SSLRequest with {shown(answer)}, which is not PostgreSQL. Check the port.",
        )
    return None
