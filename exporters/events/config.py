"""What an events exporter can be told: exactly one sink, and the spool before it."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema, model_validator

from certwatch.plugins.exporter import ExporterConfig
from exporters.events.spool import LEAST_BYTES

#: RFC 5424, table 1.
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip
#: RFC 5426, 3.1 and 3.3; RFC 6587 names none, rsyslog's and syslog-ng's habit; RFC 5425, 4.1.
DEFAULT_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}

_SIZE = re.compile(r"(\d{1,15})\s*(KiB|MiB|GiB|B)?")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "B": 1}


def _size(value: object) -> object:
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            raise ValueError("not a size. Write it as 512KiB, 256MiB or 1GiB")
        return int(found[1]) * _UNITS[found[2] or "B"]
    return value


#: Bytes, written as a number or with a unit.
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["512KiB", "256MiB", "1GiB"]}),
]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SyslogKeys(_Keys):
    #: udp://host:514, tcp://host:601, tls://host:6514, or unix:///dev/log.
    address: str
    facility: Facility = "daemon"
    #: Most bytes of a message; larger ones are cut down to valid JSON. None: 2,048 over UDP, else 8,192.
    max_bytes: Annotated[int, Field(ge=480, le=1 << 20)] | None = None
    #: For tls: the CA that signed the server's certificate. None: the system's.
    ca_file: Path | None = None
    #: For tls: a client certificate with its chain, and its key.
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        scheme, _, rest = self.address.partition("://")
        if scheme == "unix":
            if not rest.startswith("/"):
                raise ValueError("address: unix:// needs an absolute path: unix:///dev/log")
            return self
        if scheme not in DEFAULT_PORTS:
            raise ValueError("address: begins with udp://, tcp://, tls:// or unix://")
        try:
            parts = urlsplit(self.address)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"address: {error}") from error
        if not parts.hostname or port == 0 or parts.path not in ("", "/") or parts.query or parts.username:
            raise ValueError(f"address: write it as {scheme}://host:{DEFAULT_PORTS[scheme]}")
        if scheme != "tls" and (self.ca_file or self.cert_file):
            raise ValueError(f"ca_file and cert_file are for tls://, not for {scheme}://")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        return self


class BulkKeys(_Keys):
    #: Base of the server, without /_bulk. A query is kept and sent with every request.
    url: str
    #: Data stream or index that events are created in.
    index: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,199}$")] = "logs-certwatch-default"
    #: Put an index template for `index` once. False: there is one already, or the server knows none.
    template: bool = True
    username: str | None = None
    password: SecretStr | None = None
    #: As Elasticsearch's "encoded" API key.
    api_key: SecretStr | None = None
    #: CA that signed the server's certificate. None: the system's.
    ca_file: Path | None = None
    #: A client certificate with its chain, and its key.
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ValueError(f"url: {error}") from error
        if url.userinfo:
            raise ValueError("url: credentials do not belong into it. Use username and password_file")
        if url.scheme not in ("http", "https") or not url.host or url.fragment:
            raise ValueError("url: not an http(s) URL")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password_file belong together")
        if self.username is not None and self.api_key is not None:
            raise ValueError("username and api_key exclude one another")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        for secret in (self.password, self.api_key):
            if secret is not None and not secret.get_secret_value().isprintable():
                raise ValueError("password, api_key: holds more than one line")
        return self


class EventsConfig(ExporterConfig):
    #: File that lines are appended to. It may be rotated at any time, by renaming or by truncating.
    path: Path | None = None
    syslog: SyslogKeys | None = None
    bulk: BulkKeys | None = None
    #: Folder where events wait until they are delivered. None: in certwatch's data folder.
    spool: Path | None = None
    #: Beyond it, the oldest events are dropped, and counted.
    spool_bytes: Annotated[Size, Field(ge=LEAST_BYTES)] = 256 << 20

    @model_validator(mode="after")
    def _one_sink(self) -> Self:
        if sum(each is not None for each in (self.path, self.syslog, self.bulk)) != 1:
            raise ValueError(
                "one of path, syslog and bulk: each exporter has one sink. Write several exporters"
            )
        return self
