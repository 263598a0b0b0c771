"""The web config file of the Prometheus exporter-toolkit: TLS, client certificates, basic auth, headers, a rate.

The same file serves Prometheus, its exporters and certwatch. What is differently done here: docs/operations.md.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from certwatch.config.document import DocumentError, parse
from certwatch.config.mistakes import ConfigError, config_error
from certwatch.config.reading import Reading
from certwatch.config.schema import Keys
from certwatch.model.cipher_suites import OPENSSL_NAMES
from certwatch.plugins.duration import Duration

MAX_BYTES = 1 << 20

ClientAuth = Literal[
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "RequireClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]
TLSVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]

#: Go has these two by a second name.
CIPHERS: Mapping[str, str] = {
    **OPENSSL_NAMES,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
}
_TLS13_CIPHERS = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
#: Go's names of curves to OpenSSL's.
CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
    "X25519MLKEM768": "X25519MLKEM768",
}
_BCRYPT = re.compile(r"\$2[abxy]?\$(\d\d)\$[./A-Za-z0-9]{53}")


def _cipher(name: str) -> str:
    if name not in CIPHERS and name not in _TLS13_CIPHERS:
        raise ValueError(f"unknown cipher suite {name!r} (known: {', '.join(CIPHERS)})")
    return name


def _curve(name: str) -> str:
    if name not in CURVES:
        raise ValueError(f"unknown curve {name!r} (known: {', '.join(CURVES)})")
    return name


def _hash(value: SecretStr) -> SecretStr:
    match = _BCRYPT.fullmatch(value.get_secret_value())
    if match is None:
        raise ValueError("not a bcrypt hash. Make one with: htpasswd -nBC 10 USER")
    if not 4 <= int(match[1]) <= 16:
        raise ValueError(f"its cost is {match[1]}: 4 to 16 are taken, each one doubles the time of a request")
    return value


class TLSServerKeys(Keys):
    cert: str = ""
    key: SecretStr | None = None
    cert_file: str = ""
    key_file: str = ""
    client_auth_type: ClientAuth = "NoClientCert"
    client_ca: str = ""
    client_ca_file: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: TLSVersion = "TLS12"
    max_version: TLSVersion = "TLS13"
    cipher_suites: tuple[Annotated[str, AfterValidator(_cipher)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Annotated[str, AfterValidator(_curve)], ...] = ()


class HeaderKeys(Keys):
    content_security_policy: str = Field(default="", alias="Content-Security-Policy")
    x_frame_options: Literal["", "deny", "sameorigin"] = Field(default="", alias="X-Frame-Options")
    x_content_type_options: Literal["", "nosniff"] = Field(default="", alias="X-Content-Type-Options")
    x_xss_protection: str = Field(default="", alias="X-XSS-Protection")
    strict_transport_security: str = Field(default="", alias="Strict-Transport-Security")


class HTTPServerKeys(Keys):
    #: Taken and without effect: HTTP/1.1 is what is spoken here.
    http2: bool = True
    headers: HeaderKeys = HeaderKeys()


class RateKeys(Keys):
    #: Between two requests; 0: no limit.
    interval: Duration = timedelta(0)
    burst: int = Field(default=0, ge=0)


class WebConfigKeys(Keys):
    tls_server_config: TLSServerKeys | None = None
    http_server_config: HTTPServerKeys = HTTPServerKeys()
    basic_auth_users: dict[
        Annotated[str, Field(min_length=1)], Annotated[SecretStr, AfterValidator(_hash)]
    ] = Field(default_factory=dict)
    rate_limit: RateKeys = RateKeys()


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSServer:
    """What the port speaks TLS with. Two that are equal need no new handshake parameters."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    #: PEM. Empty: no client certificate is asked for.
    client_ca: bytes = field(repr=False)
    #: True: no connection without a client certificate. False: one that is sent is verified.
    client_required: bool
    #: Of these a client's certificate must have one. Empty: any that the CA signed.
    client_sans: frozenset[str]
    min_version: TLSVersion
    max_version: TLSVersion
    #: OpenSSL's names. Empty: OpenSSL's own choice.
    ciphers: tuple[str, ...]
    server_prefers: bool
    #: OpenSSL's names; only one can be told. Empty: OpenSSL's own choice.
    curves: tuple[str, ...]

    @property
    def parameters(self) -> tuple[object, ...]:
        """What a new certificate does not change."""
        return (
            bool(self.client_ca),
            self.client_required,
            self.client_sans,
            self.min_version,
            self.max_version,
            self.ciphers,
            self.server_prefers,
            self.curves,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    #: None: plain HTTP.
    tls: TLSServer | None = None
    #: bcrypt hashes by user. Empty: nobody is asked who they are.
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    #: Sent with every answer, in place of our own.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Seconds between two requests, and how many may come at once. 0: no limit.
    interval_seconds: float = 0.0
    burst: int = 0
    #: Every file that it was read from.
    files: tuple[Path, ...] = ()

    @property
    def is_open(self) -> bool:
        """It is as good as none: neither TLS nor users."""
        return self.tls is None and not self.users


def read(path: Path) -> WebConfig:
    """Blocking. Paths in the file are relative to its own folder. Raises ConfigError with all that is wrong."""
    name = str(path)
    text = _load(name, path).decode("utf-8", "replace")
    try:
        document = parse(text)
    except DocumentError as error:
        raise config_error(name, error.mistakes) from error
    if document.value is None:
        document.value = {}
    reading = Reading(document, {}, file=name)
    if not isinstance(reading.value, dict):
        reading.say((), "a web config is keys with values, like tls_server_config: …")
        raise config_error(name, reading.mistakes)
    keys = reading.validate(WebConfigKeys, reading.value, ())
    if keys is None or reading.mistakes:
        raise config_error(name, reading.mistakes)
    files = [path]
    tls = _tls(reading, keys.tls_server_config, path.parent, files) if keys.tls_server_config else None
    if reading.mistakes:
        raise config_error(name, reading.mistakes)
    headers = keys.http_server_config.headers.model_dump(by_alias=True)
    return WebConfig(
        tls=tls,
        users={user: each.get_secret_value().encode() for user, each in keys.basic_auth_users.items()},
        headers={header: value for header, value in headers.items() if value},
        interval_seconds=keys.rate_limit.interval.total_seconds(),
        burst=keys.rate_limit.burst,
        files=tuple(files),
    )


def _load(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            [f"{name}: {path}: {error.strerror}. Mend the path, or grant read permission"]
        ) from error
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{name}: {path}: larger than {MAX_BYTES} bytes"])
    return data


def _tls(reading: Reading, keys: TLSServerKeys, folder: Path, files: list[Path]) -> TLSServer | None:
    at = ("tls_server_config",)

    def whole(inline: str, file: str, what: str) -> bytes:
        if inline and file:
            reading.say((*at, what), f"both {what} and {what}_file are given. Leave one out")
        if file:
            where = folder / os.path.expanduser(file)
            files.append(where)
            try:
                return _load(reading.file, where)
            except ConfigError as error:
                reading.say((*at, f"{what}_file"), error.messages[0].removeprefix(f"{reading.file}: "))
        return inline.encode()

    certificate = whole(keys.cert, keys.cert_file, "cert")
    key = whole(keys.key.get_secret_value() if keys.key else "", keys.key_file, "key")
    client_ca = whole(keys.client_ca, keys.client_ca_file, "client_ca")
    for what, given in (("cert_file", certificate), ("key_file", key)):
        if not given and not reading.mistakes:
            reading.say(at, f"{what} is missing: TLS needs a certificate and its key")
    verifies = keys.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
    if keys.client_auth_type in ("RequireAnyClientCert", "RequireClientCert"):
        reading.say(
            (*at, "client_auth_type"),
            f"{keys.client_auth_type} lets everybody in who has any certificate at all, and is not done here. Write"
            " RequireAndVerifyClientCert",
        )
    elif client_ca and not verifies:
        reading.say(
            (*at, "client_auth_type"),
            "a client CA is given and not used. Write RequireAndVerifyClientCert, or leave it out",
        )
    elif verifies and not client_ca:
        reading.say(at, "client_ca_file is missing: it says whose client certificates are taken")
    if keys.client_allowed_sans and keys.client_auth_type != "RequireAndVerifyClientCert":
        reading.say((*at, "client_allowed_sans"), "needs client_auth_type: RequireAndVerifyClientCert")
    if keys.min_version > keys.max_version:
        reading.say((*at, "min_version"), f"{keys.min_version} is later than max_version {keys.max_version}")
    if reading.mistakes:
        return None
    return TLSServer(
        certificate=certificate,
        key=key,
        client_ca=client_ca if verifies else b"",
        client_required=keys.client_auth_type == "RequireAndVerifyClientCert",
        client_sans=frozenset(keys.client_allowed_sans),
        min_version=keys.min_version,
        max_version=keys.max_version,
        ciphers=tuple(CIPHERS[each] for each in keys.cipher_suites if each in CIPHERS),
        server_prefers=keys.prefer_server_cipher_suites,
        curves=tuple(CURVES[each] for each in keys.curve_preferences),
    )
