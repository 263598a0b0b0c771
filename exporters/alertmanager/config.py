"""What an Alertmanager exporter can be told."""

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self

import httpx
from pydantic import Field, model_validator

from certwatch.model.finding import Severity
from certwatch.plugins.duration import Duration
from certwatch.plugins.exporter import ExporterConfig

#: That an alert has by itself.
OWN_LABELS = frozenset(
    [
        "alertname",
        "severity",
        "team",
        "page",
        "route",
        "rule",
        "name",
        "fingerprint",
        "certificate",
        "ca",
        "location",
        "collector",
    ]
)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class AlertmanagerConfig(ExporterConfig):
    #: Every Alertmanager, each one by itself: they tell each other nothing of what they receive.
    urls: tuple[str, ...] = Field(min_length=1)
    #: How often everything that fires is sent again. Without it, an alert ends by itself after four times as long.
    resend: Duration = timedelta(seconds=60)
    #: Findings below it are not sent.
    min_severity: Severity = "ticket"
    #: Labels of locations by which one matter becomes several alerts, each with that label.
    group_labels: tuple[str, ...] = ("environment", "region", "cluster")
    #: Added to every alert; where it has one of that name itself, its own stands.
    labels: dict[str, str] = Field(default_factory=dict)
    username: str | None = None
    password_file: Path | None = None
    #: Bearer token.
    token_file: Path | None = None
    #: CA that signed the Alertmanagers' certificates. Absent: the system's.
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for url in self.urls:
            _check_url(url)
        for name in (*self.labels, *self.group_labels):
            # Alertmanager would refuse every alert.
            if not _LABEL.fullmatch(name):
                raise ValueError(
                    f"labels, group_labels: {name!r} is not a label name: letters, digits and _, no digit first"
                )
        own = sorted(OWN_LABELS.intersection(self.group_labels))
        if own:
            raise ValueError(f"group_labels: {own[0]!r} is a label that every alert has by itself")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file belong together")
        if self.username is not None and self.token_file is not None:
            raise ValueError("username and token_file exclude one another")
        if self.resend < timedelta(seconds=1):
            raise ValueError("resend: at least 1s")
        return self

    def headers(self) -> Mapping[str, str]:
        """Blocking: reads the secrets' files, which may have been exchanged. Raises OSError, or ValueError that does
        not say what is in them."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {_secret(self.token_file, 'ascii').decode()}"
        elif self.password_file is not None:
            both = f"{self.username}:".encode() + _secret(self.password_file, "utf-8")
            headers["Authorization"] = f"Basic {base64.b64encode(both).decode()}"
        return headers


def _check_url(url: str) -> None:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"urls: {url!r}: {error}") from error
    if parts.userinfo:
        raise ValueError(
            f"urls: {parts.host}: credentials do not belong into a URL. Use username and password_file"
        )
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"urls: {url!r} is not an http(s) URL")
    if parts.query or parts.fragment:
        raise ValueError(f"urls: {url!r}: give its base, without query or fragment")


def _secret(path: Path, encoding: str) -> bytes:
    try:
        secret = path.read_bytes().decode(encoding).strip()
    except UnicodeDecodeError:
        # The error itself would show the secret.
        raise ValueError(f"{path}: not {encoding} text") from None
    if any(each in secret for each in "\r\n\0"):
        raise ValueError(f"{path}: holds more than one line")
    return secret.encode()
