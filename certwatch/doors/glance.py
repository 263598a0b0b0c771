"""The certificate of an endpoint without any cryptography: a ClientHello of TLS 1.2, the server's first flight up to its
Certificate, which is in the clear there, and leave.

TLS 1.3 encrypts the Certificate. Of who speaks nothing else, or is not understood here, only a full handshake
(`certwatch.doors.handshake`) tells more.
"""

from certwatch.doors.certificate_message import Presented, read_certificate
from certwatch.doors.client_hello import SUITES, client_hello
from certwatch.doors.failure import LookFailed
from certwatch.doors.greetings import not_tls
from certwatch.model.observation import ErrorKind, Fact

_ALERT, _HANDSHAKE = 21, 22
_SERVER_HELLO, _CERTIFICATE = 2, 11
_TLS12 = 0x0303
#: By OpenSSL's names, as a full handshake has them.
_VERSIONS = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLSv1.1", _TLS12: "TLSv1.2"}
#: Longest record (RFC 5246, 6.2.3).
_LONGEST = 16384 + 2048


class Glancer:
    """What makes glances. In place of `handshake.Client`."""

    def begin(self, where: str, server_name: str | None, *, alpn: bool) -> "Glance":
        return Glance(where, server_name, alpn=alpn)


class Glance:
    """One look at one server's first flight. `step` it with what arrives until `done`. Owned by one connection."""

    __slots__ = (
        "_alpn",
        "_at",
        "_cipher",
        "_messages",
        "_presented",
        "_records",
        "_server_name",
        "_version",
        "_where",
        "done",
    )

    #: What the time is called that it takes.
    fact = "certificate_seconds"
    #: It never comes that far.
    refused_without_client_certificate = False

    def __init__(self, where: str, server_name: str | None, *, alpn: bool) -> None:
        self._where = where
        self._server_name = server_name
        self._alpn = alpn
        #: What has arrived of records that are not whole.
        self._records = b""
        #: What has arrived of handshake messages that are not whole.
        self._messages = b""
        self._version = 0
        self._cipher = 0
        self._presented = Presented()
        self.done = False

    def step(self, data: bytes) -> tuple[bytes, LookFailed | None]:
        """Take what arrived (nothing at first). Gives what to send, and why it failed."""
        if not data:
            return client_hello(self._server_name, alpn=self._alpn), None
        return b"", self._take(self._records + data if self._records else data)

    def _take(self, arrived: bytes) -> LookFailed | None:
        if not self._version and not self._messages:
            strange = not_tls(arrived[:5])
            if strange is not None:
                return LookFailed("not-tls", f"{self._where}: {strange}")
        at, end = 0, len(arrived)
        while end - at >= 5:
            kind, length = arrived[at], arrived[at + 3] << 8 | arrived[at + 4]
            if kind not in (_HANDSHAKE, _ALERT) or length > _LONGEST or not length:
                return self._give_up("its first flight is no TLS", "malformed")
            if end - at - 5 < length:
                break
            payload = arrived[at + 5 : at + 5 + length]
            at += 5 + length
            if kind == _ALERT:
                return self._give_up(f"refused a ClientHello of TLS 1.2 (alert {payload[-1]})", "tls-alert")
            failure = self._read(self._messages + payload if self._messages else payload)
            if self.done or failure is not None:
                return failure
        self._records = arrived[at:]
        return None

    def _read(self, messages: bytes) -> LookFailed | None:
        """Handshake messages as far as they are whole (RFC 5246, 7.4)."""
        at, end = 0, len(messages)
        while end - at >= 4:
            stop = at + 4 + int.from_bytes(messages[at + 1 : at + 4], "big")
            if stop > end:
                break
            kind = messages[at]
            if kind == _SERVER_HELLO:
                failure = self._greeted(messages[at + 4 : stop])
                if failure is not None:
                    return failure
            elif kind == _CERTIFICATE and self._version:
                self._presented = read_certificate(messages[at:stop], self._version)
                self.done = bool(self._presented.chain)
                return None if self.done else self._give_up("presented an empty certificate list")
            else:
                return self._give_up("went on without a certificate")
            at = stop
        self._messages = messages[at:]
        return None

    def _greeted(self, hello: bytes) -> LookFailed | None:
        """ServerHello (RFC 5246, 7.4.1.3)."""
        session = hello[34] if len(hello) > 34 else 0
        version = int.from_bytes(hello[:2], "big")
        if version not in _VERSIONS or len(hello) < 38 + session:
            return self._give_up("answered with no ServerHello of TLS 1.2 or before", "malformed")
        self._version = version
        self._cipher = int.from_bytes(hello[35 + session : 37 + session], "big")
        return None

    def _give_up(self, what: str, kind: ErrorKind = "no-certificate") -> LookFailed:
        return LookFailed(kind, f"{self._where}: {what}. Try a full handshake.")

    def farewell(self) -> bytes:
        """None: it hangs up, which costs a system call less."""
        return b""

    def presented(self) -> Presented:
        return self._presented

    def facts(self) -> dict[str, Fact]:
        """What was agreed, as far as it came: version and cipher, and that it was no more than a glance."""
        if not self.done:
            return {}
        facts: dict[str, Fact] = {"tls_version": _VERSIONS[self._version], "swept": True}
        if self._cipher in SUITES:
            facts["cipher"] = SUITES[self._cipher]
        return facts

    def close(self) -> None:
        """There is nothing to let go of."""
