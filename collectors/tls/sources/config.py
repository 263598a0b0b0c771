"""Keys for targets that stand elsewhere: Prometheus' target lists in files and at URLs, and DNS."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from certwatch.doors.url import parse_web_address
from collectors.tls.starttls import PROTOCOLS
from collectors.tls.targets import host_name, parse

_SERVER = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/\s]+))(?::(?P<port>[0-9]{1,5}))?")


def _web_address(text: str) -> str:
    parse_web_address(text)
    return text


def _ports(text: str) -> str:
    parse(f"localhost:{text}")
    return text


def server_address(text: str) -> tuple[str, int]:
    """Host or address, and port, of a name server. Raises ValueError."""
    match = _SERVER.fullmatch(text)
    port = int(match["port"] or 53) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(
            f"{text!r}: not a name server. Write 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53"
        )
    return match["v6"] or match["host"], port


def _server(text: str) -> str:
    server_address(text)
    return text


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HTTPSource(_Keys):
    """What Prometheus calls http_sd."""

    url: Annotated[str, AfterValidator(_web_address)]
    #: Basic authentication, with `password`.
    username: str = ""
    password: SecretStr | None = None
    #: Bearer token.
    token: SecretStr | None = None
    #: CA of the server's certificate. None: the system's.
    ca_file: str | None = None
    #: Seconds.
    timeout: float = Field(default=15, gt=0, le=300)


class TransferKey(_Keys):
    """TSIG (RFC 8945)."""

    name: Annotated[str, Field(min_length=1)]
    #: Base64.
    secret: SecretStr
    algorithm: Literal[
        "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1", "hmac-md5"
    ] = "hmac-sha256"


class DNSSource(_Keys):
    #: Asked for, one by one.
    names: list[Annotated[str, Field(min_length=1, max_length=253)]] = Field(default_factory=list)
    #: Transferred whole (AXFR): every host in it is a target.
    zone: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    type: Literal["A", "AAAA", "SRV", "MX"] = "SRV"
    #: For A, AAAA and zones; SRV says its own, MX has 25.
    ports: Annotated[str, AfterValidator(_ports)] = "443"
    #: A key of `starttls.PROTOCOLS`. None: by the service of an SRV record, smtp for MX, else TLS from the first byte.
    protocol: Annotated[str, AfterValidator(lambda text: _protocol(text))] | None = None
    #: Who is asked. None: the system's name servers; for a zone: those that it names itself.
    server: Annotated[str, AfterValidator(_server)] | None = None
    tsig: TransferKey | None = None
    #: Seconds for one question; a transfer has ten times as long.
    timeout: float = Field(default=10, gt=0, le=300)

    @model_validator(mode="after")
    def _asks_for_something(self) -> "DNSSource":
        if bool(self.names) == (self.zone is not None):
            raise ValueError("name either names to look up or a zone to transfer")
        for each in (*self.names, *([self.zone] if self.zone else [])):
            host_name(each.rstrip(".") or each)
        return self


def _protocol(text: str) -> str:
    if text not in PROTOCOLS:
        raise ValueError(f"unknown protocol {text!r} (known: {', '.join(PROTOCOLS)})")
    return text
