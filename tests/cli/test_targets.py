"""What `scan` takes for a path and what for an endpoint."""

from pathlib import Path

import pytest

from certwatch.cli.targets import divide, with_protocol
from collectors.tls.targets import parse


def test_paths_are_told_from_endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.pem").touch()
    endpoints = ["www.example.com", "10.0.0.0/24:443", "[2001:db8::1]:443", "host:25/smtp", "2001:db8::1",
                 "tls://host/?sni=x", "gone.pem"]  # fmt: skip
    paths = ["/etc/ssl", "./x", "../x", "~/x", "*.pem", "a[bc].pem", "here.pem", "."]
    assert divide([*endpoints, *paths, "file:///etc/x.pem"]) == (endpoints, [*paths, "/etc/x.pem"])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("host", "host/smtp"),
        ("host:587", "host:587/smtp"),
        ("host:25/imap", "host:25/imap"),
        ("10.0.0.0/24", "10.0.0.0/24/smtp"),
        ("10.0.0.0/24:25,587", "10.0.0.0/24:25,587/smtp"),
        ("2001:db8::1", "[2001:db8::1]/smtp"),
        ("2001:db8::/120", "[2001:db8::]/120/smtp"),
        ("[2001:db8::1]:25", "[2001:db8::1]:25/smtp"),
        ("tls://host:25", "tls://host:25/?protocol=smtp"),
        ("tls://host:25/?sni=a", "tls://host:25/?sni=a&protocol=smtp"),
    ],
)
def test_a_protocol_is_put_where_the_target_names_none(target: str, expected: str) -> None:
    assert with_protocol(target, "smtp") == expected
    if "imap" not in expected:
        assert parse(expected).protocol == "smtp"
