"""From a web config's TLS part to what OpenSSL serves with."""

import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from certwatch.config.mistakes import ConfigError
from certwatch.web.web_config import TLSServer

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
#: Kinds of names in what Python says of a client's certificate.
_NAMES = frozenset({"DNS", "email", "URI", "IP Address"})


def make_context(name: str, server: TLSServer) -> ssl.SSLContext:
    """Blocking. `name`: the web config, for messages. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[server.min_version]
    context.maximum_version = _VERSIONS[server.max_version]
    # HTTP/2 is not spoken here: a client that offers it alone is told so by ALPN.
    context.set_alpn_protocols(["http/1.1"])
    if server.server_prefers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        if server.ciphers or server.min_version < "TLS12":
            # What is older than TLS 1.2 needs signatures that OpenSSL allows at its lowest level alone.
            level = "@SECLEVEL=0" if server.min_version < "TLS12" else ""
            context.set_ciphers(":".join(server.ciphers or ("DEFAULT",)) + level)
        if len(server.curves) == 1:
            context.set_ecdh_curve(server.curves[0])
        _load_chain(context, server)
        if server.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED if server.client_required else ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata=server.client_ca.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        message = (
            f"{name}: tls_server_config: certificate, key or client CA cannot be used: {reason}. They are to be PEM, the"
            " key that of the first certificate and without a passphrase"
        )
        raise ConfigError([message]) from error
    return context


def _load_chain(context: ssl.SSLContext, server: TLSServer) -> None:
    # OpenSSL reads them from files alone; what is checked must be what is loaded, so not from the user's.
    with tempfile.TemporaryDirectory(prefix="certwatch-") as folder:
        certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
        certificate.write_bytes(server.certificate)
        key.touch(mode=0o600)
        key.write_bytes(server.key)
        context.load_cert_chain(certificate, key, password=_no_passphrase)


def _no_passphrase() -> NoReturn:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key has a passphrase")


def is_allowed(certificate: Mapping[str, Any] | None, allowed: frozenset[str]) -> bool:
    """Whether a verified client certificate, as `ssl` describes it, has one of the names."""
    names = (certificate or {}).get("subjectAltName", ())
    return any(kind in _NAMES and value in allowed for kind, value in names)
