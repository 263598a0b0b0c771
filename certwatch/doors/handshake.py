"""A TLS handshake over bytes, by OpenSSL's memory BIOs: no socket, no clock.

It takes whatever a server presents and judges nothing. OpenSSL is called through cryptography's binding, as
pyOpenSSL does, and not through pyOpenSSL's `Connection`: only the message callback gives the chain as it came
over the wire, a chain that OpenSSL refuses to parse, and the request for a client certificate; and it spares
a fifth of the time.
"""

from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL

from certwatch.doors.certificate_message import (
    TIMESTAMPS,
    TLS13,
    Presented,
    read_certificate,
    read_server_hello,
    read_status,
)
from certwatch.doors.failure import LookFailed
from certwatch.doors.greetings import not_tls
from certwatch.model.observation import ErrorKind, Fact

_binding: Any = Binding()
_lib = _binding.lib
_ffi = _binding.ffi

#: Everything with a certificate, weakest too, strong first. Without aNULL: Postfix prefers anonymous suites
#: where the client offers them, and then shows no certificate.
CIPHERS = b"ALL:eNULL:!aNULL:!PSK:!SRP@SECLEVEL=0"
#: AES-128 first, as browsers offer it: SHA-256 key schedule, less work for both sides.
TLS13_CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#: "*" marks the only key share that is sent: X25519. A server that prefers another group of the list, as the
#: hybrid X25519MLKEM768, asks for it by HelloRetryRequest, so that the group reported is the server's choice,
#: and an ML-KEM key (a fifth of a handshake's cost) is made only where it is used. "?": left out if unknown.
GROUPS = (
    b"?X25519MLKEM768:*X25519:?SecP256r1MLKEM768:secp256r1:?X448:secp384r1:secp521r1:?ffdhe2048:?ffdhe3072"
    # Rare, but certificates with such keys are served only to those who know the curve (RFC 8422, 5.1.1).
    b":?ffdhe4096:?brainpoolP256r1:?brainpoolP384r1:?brainpoolP512r1"
    b":?brainpoolP256r1tls13:?brainpoolP384r1tls13:?brainpoolP512r1tls13"
)
ALPN = b"\x02h2\x08http/1.1"

_VERSIONS = {
    "TLS10": SSL.TLS1_VERSION,
    "TLS11": SSL.TLS1_1_VERSION,
    "TLS12": SSL.TLS1_2_VERSION,
    "TLS13": SSL.TLS1_3_VERSION,
}

#: Alert numbers that a server answers a missing client certificate with (RFC 8446, 6.2; RFC 5246, 7.2.2).
_ALERTS_WITHOUT_CLIENT_CERTIFICATE = frozenset({40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 116})
#: What to do about an alert, by its number.
_ALERT_ADVICE = {
    40: "It wants a cipher, a group or a server name (SNI) that it was not offered",
    70: "It speaks only versions of TLS that are not spoken here",
    80: "Its set-up is broken: see its log",
    112: "Ask for a name that it knows, by server_name",
}
#: reason = 1000 + number for an alert that was received (openssl/sslerr.h, SSL_AD_REASON_OFFSET).
_ALERT_OFFSET = 1000

_SERVER_HELLO, _CERTIFICATE, _CERTIFICATE_REQUEST, _HELLO_DONE, _CERTIFICATE_STATUS = (
    b"\x02",
    b"\x0b",
    b"\x0d",
    b"\x0e",
    b"\x16",
)
_HANDSHAKE_RECORD = 22
_BUFFER_SIZE = 65536
#: Written at once, so that what comes of it fits into the buffer.
_PORTION = 16384


class Client:
    """What we offer, shared by many handshakes. Belongs to one thread: a handshake's step must not run beside
    another's."""

    def __init__(self, *, certificate_file: str | None = None, key_file: str | None = None) -> None:
        """`certificate_file`: a client certificate, PEM, leaf first; `key_file`: its unencrypted key, None: in the same
        file. Blocking where there is one. Raises LookFailed: it cannot be read, or key and certificate do not match."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_options(SSL.OP_LEGACY_SERVER_CONNECT)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(CIPHERS)
        context.set_tls13_ciphersuites(TLS13_CIPHERS)
        self._context = context
        #: We show a certificate where one is asked for: who refuses us then does so for a reason.
        self.has_certificate = certificate_file is not None
        if certificate_file is not None:
            _use_certificate(context, certificate_file, key_file or certificate_file)
        self._ctx: Any = context._context
        _lib.SSL_CTX_set_min_proto_version(self._ctx, SSL.TLS1_VERSION)
        if _lib.SSL_CTX_set1_curves_list(self._ctx, GROUPS) != 1:
            raise RuntimeError(f"OpenSSL refuses the groups {GROUPS!r}: {_drain()}")
        # Servers send timestamps of CT logs to who asks for them, as browsers do. OpenSSL's own part of it wants their logs' keys;
        # what comes is read from the messages. It fails only where OpenSSL knows the extension already.
        _lib.SSL_CTX_add_client_custom_ext(self._ctx, TIMESTAMPS, *[_ffi.NULL] * 5)
        _lib.ERR_clear_error()
        self._out = _ffi.new("char[]", _BUFFER_SIZE)
        #: The handshake whose step runs now. Set by `Handshake.step` alone.
        self._current: Handshake | None = None
        # Kept here: OpenSSL holds a bare pointer to it.
        self._callback = _ffi.callback("void(int,int,int,void*,size_t,SSL*,void*)", self._on_message)
        _lib.SSL_CTX_set_msg_callback(self._ctx, self._callback)

    def restrict(self, *, min_version: str, max_version: str) -> None:
        """Versions of TLS that are offered: "TLS10" to "TLS13"."""
        _lib.SSL_CTX_set_min_proto_version(self._ctx, _VERSIONS[min_version])
        _lib.SSL_CTX_set_max_proto_version(self._ctx, _VERSIONS[max_version])

    def present(self, chain_pem: bytes, key_pem: bytes) -> None:
        """The client certificate that servers are given if they ask, leaf first, and its key, without a passphrase. Raises
        ValueError."""
        try:
            certificates = x509.load_pem_x509_certificates(chain_pem)
            key = serialization.load_pem_private_key(key_pem, None)
            self._context.use_certificate(certificates[0])
            for each in certificates[1:]:
                self._context.add_extra_chain_cert(each)
            self._context.use_privatekey(cast("Any", key))
            self._context.check_privatekey()
        except (ValueError, TypeError, UnsupportedAlgorithm, SSL.Error) as error:
            raise ValueError("the client certificate and its key cannot be used: both are to be PEM, the key without a"
                             " passphrase and that of the first certificate") from error  # fmt: skip

    def _on_message(
        self, sent: int, version: int, kind: int, data: Any, length: int, ssl: Any, argument: Any
    ) -> None:
        # Called some twenty times a handshake, headers and inner content types included.
        if kind != _HANDSHAKE_RECORD or sent or not length or self._current is None:
            return
        view = _ffi.buffer(data, length)
        message = view[0]
        if message == _SERVER_HELLO:
            self._current.server_hello = view[:]
        elif message == _CERTIFICATE:
            self._current.certificate_message = (version, view[:])
        elif message == _CERTIFICATE_REQUEST:
            self._current.client_certificate_requested = True
        elif message == _CERTIFICATE_STATUS:
            self._current.status_message = view[:]
        elif message == _HELLO_DONE:
            self._current.hello_done = True

    def begin(self, where: str, server_name: str | None, *, alpn: bool) -> "Handshake":
        return Handshake(self, where, server_name, alpn=alpn)


#: A chain and a key are far smaller.
_MAX_FILE = 1 << 20


def _use_certificate(context: SSL.Context, certificate_file: str, key_file: str) -> None:
    read: list[bytes] = []
    for path in (certificate_file, key_file):
        try:
            with open(path, "rb") as file:
                read.append(file.read(_MAX_FILE))
        except OSError as error:
            kind: ErrorKind = "not-found" if isinstance(error, FileNotFoundError) else "permission"
            raise LookFailed(
                kind,
                f"{path}: the client certificate cannot be read: {error.strerror}. Check cert_file and key_file.",
            ) from error
    try:
        leaf, *chain = load_pem_x509_certificates(read[0])
        context.use_certificate(leaf)
        for each in chain:
            context.add_extra_chain_cert(each)
        context.use_privatekey(load_pem_private_key(read[1], None))  # type: ignore[arg-type]
        context.check_privatekey()
    except (SSL.Error, ValueError, TypeError, UnsupportedAlgorithm) as error:
        _lib.ERR_clear_error()
        raise LookFailed(
            "malformed",
            f"{certificate_file}, {key_file}: not a PEM certificate with its own unencrypted key. Check cert_file and"
            " key_file.",
        ) from error


class Handshake:
    """One handshake. `step` it with what arrives until `done`; `close` it in any case, once."""

    __slots__ = (
        "_client",
        "_in",
        "_out",
        "_ssl",
        "_started",
        "_where",
        "agreed",
        "certificate_message",
        "client_certificate_requested",
        "done",
        "hello_done",
        "server_hello",
        "status_message",
    )

    #: What the time is called that it takes.
    fact = "handshake_seconds"

    def __init__(self, client: Client, where: str, server_name: str | None, *, alpn: bool) -> None:
        self._client = client
        self._where = where
        #: The first bytes received, until they are known to be a TLS record's head.
        self._started: bytes | None = b""
        self.done = False
        #: Both sides have finished, and data may follow. False while `done`: all was seen, and the server refused us for
        #: having no client certificate.
        self.agreed = False
        #: Wire version and message, as received.
        self.server_hello = b""
        self.certificate_message: tuple[int, bytes] | None = None
        self.status_message: bytes | None = None
        self.client_certificate_requested = False
        #: TLS before 1.3: the server's first flight was whole, ours followed.
        self.hello_done = False
        ssl = self._ssl = _lib.SSL_new(client._ctx)
        self._in = _lib.BIO_new(_lib.BIO_s_mem())
        self._out = _lib.BIO_new(_lib.BIO_s_mem())
        _lib.SSL_set_bio(ssl, self._in, self._out)  # SSL_free frees them as well
        _lib.SSL_set_connect_state(ssl)
        _lib.SSL_set_tlsext_status_type(ssl, _lib.TLSEXT_STATUSTYPE_ocsp)
        if server_name is not None:
            _lib.SSL_set_tlsext_host_name(ssl, server_name.encode("ascii"))
        if alpn:
            _lib.SSL_set_alpn_protos(ssl, ALPN, len(ALPN))

    def step(self, data: bytes) -> tuple[bytes, LookFailed | None]:
        """Take what arrived (nothing at first). Gives what to send, which may be an alert, and why it failed."""
        if self._started is not None and data:
            self._started += data
            strange = not_tls(self._started)
            if strange:
                return b"", LookFailed("not-tls", f"{self._where}: {strange}")
            if len(self._started) >= 5:
                self._started = None
        client = self._client
        _lib.ERR_clear_error()
        if data:
            _lib.BIO_write(self._in, data, len(data))
        client._current = self
        result = _lib.SSL_do_handshake(self._ssl)
        client._current = None
        failure: LookFailed | None = None
        if result == 1:
            self.done = self.agreed = True
            if self.certificate_message is None:
                failure = LookFailed(
                    "no-certificate",
                    f"{self._where}: agreed on TLS without a certificate. Configure one on the server.",
                )
        elif _lib.SSL_get_error(self._ssl, result) != _lib.SSL_ERROR_WANT_READ:
            failure = self._failure()
        return self.pending(), failure

    def farewell(self) -> bytes:
        """close_notify, so that the server need not take our leaving for an attack (RFC 8446, 6.1)."""
        _lib.SSL_shutdown(self._ssl)
        return self.pending()

    def encrypt(self, data: bytes) -> bytes:
        """What to send for it, once the handshake is done."""
        out = b""
        for start in range(0, len(data), _PORTION):
            part = data[start : start + _PORTION]
            _lib.SSL_write(self._ssl, part, len(part))
            out += self.pending()
        return out

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """What has become readable by what arrived, and whether the other side has said that it ends. What is to be sent in
        answer (a key update) is `pending`. Raises LookFailed."""
        _lib.ERR_clear_error()
        if data:
            _lib.BIO_write(self._in, data, len(data))
        parts = []
        buffer = self._client._out
        while (length := _lib.SSL_read(self._ssl, buffer, _BUFFER_SIZE)) > 0:
            parts.append(_ffi.buffer(buffer, length)[:])
        kind = _lib.SSL_get_error(self._ssl, length)
        if kind == _lib.SSL_ERROR_SSL:
            _, text = _drain()
            raise LookFailed("tls-alert", f"{self._where}: TLS broke off after the handshake: {text}.")
        return b"".join(parts), kind == _lib.SSL_ERROR_ZERO_RETURN

    def pending(self) -> bytes:
        buffer = self._client._out
        length = _lib.BIO_read(self._out, buffer, _BUFFER_SIZE)
        if length <= 0:
            return b""
        out: bytes = _ffi.buffer(buffer, length)[:]
        return out

    def _failure(self) -> LookFailed | None:
        reason, text = _drain()
        alert = reason - _ALERT_OFFSET
        if 0 <= alert < 256:
            if self.refused_without_client_certificate and alert in _ALERTS_WITHOUT_CLIENT_CERTIFICATE:
                self.done = True
                return None
            name = text.partition(" alert ")[2] or text
            advice = _ALERT_ADVICE.get(alert, "Its log may say why")
            return LookFailed(
                "tls-alert", f"{self._where}: refused the handshake: {name} (alert {alert}). {advice}."
            )
        if self.certificate_message is not None and not self.presented().chain:
            return LookFailed(
                "no-certificate",
                f"{self._where}: presented an empty certificate list. Configure a certificate on the server.",
            )
        kind: ErrorKind = "other" if reason in _NOT_OURS else "malformed"
        advice = (
            "Server and client have nothing in common"
            if kind == "other"
            else "It, or a middlebox, breaks TLS"
        )
        return LookFailed(kind, f"{self._where}: the TLS handshake failed: {text}. {advice}.")

    @property
    def refused_without_client_certificate(self) -> bool:
        """The server asked for a client certificate, got our empty answer, and whatever it does now but go on
        is its refusal: the chain was seen."""
        return (
            self.client_certificate_requested
            and self.hello_done
            and not self.done
            and not self._client.has_certificate
        )

    def presented(self) -> Presented:
        """As far as the handshake came."""
        if self.certificate_message is None:
            return Presented()
        version, message = self.certificate_message
        presented = read_certificate(message, version)
        if version >= TLS13:
            return presented
        status = read_status(self.status_message[4:]) if self.status_message is not None else None
        return Presented(presented.chain, status, read_server_hello(self.server_hello))

    def facts(self) -> dict[str, Fact]:
        """What was agreed, as far as the handshake came: version, cipher, group, ALPN, client certificate."""
        facts: dict[str, Fact] = {}
        if self.certificate_message is None and not self.done:
            return facts
        ssl = self._ssl
        facts["tls_version"] = _text(_lib.SSL_get_version(ssl))
        cipher = _lib.SSL_get_current_cipher(ssl)
        if cipher != _ffi.NULL:
            facts["cipher"] = _text(_lib.SSL_CIPHER_get_name(cipher))
        # SSL_get0_group_name dereferences the session, which a failed handshake may not have.
        if self.done and _lib.SSL_get_session(ssl) != _ffi.NULL:
            group = _lib.SSL_get0_group_name(ssl)
            if group != _ffi.NULL:
                facts["group"] = _text(group)
            protocol, length = _ffi.new("unsigned char **"), _ffi.new("unsigned int *")
            _lib.SSL_get0_alpn_selected(ssl, protocol, length)
            if length[0]:
                facts["alpn"] = _ffi.buffer(protocol[0], length[0])[:].decode("ascii", "replace")
        facts["client_certificate_requested"] = self.client_certificate_requested
        return facts

    def close(self) -> None:
        if self._ssl is not None:
            _lib.SSL_free(self._ssl)
            self._ssl = None


#: Reasons (openssl/sslerr.h) for which nobody is to blame: both are right and have nothing in common.
#: unsupported protocol, wrong SSL version, wrong cipher returned, unsafe legacy renegotiation, no suitable groups.
_NOT_OURS = frozenset({258, 266, 261, 338, 295})


def _text(pointer: Any) -> str:
    text: str = _ffi.string(pointer).decode("ascii", "replace")
    return text


def _drain() -> tuple[int, str]:
    """The first error in this thread's queue, its reason as number and text; the queue is empty after."""
    code = _lib.ERR_get_error()
    _lib.ERR_clear_error()
    reason = _lib.ERR_GET_REASON(code)
    text = _lib.ERR_reason_error_string(code)
    return reason, _text(text) if text != _ffi.NULL else f"OpenSSL error {code:#x}"
