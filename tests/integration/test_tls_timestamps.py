"""Timestamps of CT logs that a real server sends in the handshake, as nginx does by OpenSSL's ServerInfoFile."""

import base64
import json
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.cli.stage import run
from tests.support.nginx import NginxServer, nginx

pytestmark = pytest.mark.integration
SENT = b"\0\x0b" + b"\0\x09" + b"timestamp"
#: In the ServerHello of TLS 1.2, in the Certificate message of TLS 1.3; only to a client that asks (openssl/ssl.h).
CONTEXT = 0x0080 | 0x0100 | 0x1000


def server_info() -> bytes:
    packed = CONTEXT.to_bytes(4, "big") + b"\0\x12" + len(SENT).to_bytes(2, "big") + SENT
    name = b"SERVERINFOV2 FOR TLS"
    return b"-----BEGIN " + name + b"-----\n" + base64.encodebytes(packed) + b"-----END " + name + b"-----\n"


def test_they_are_asked_for_and_seen_in_every_version(tmp_path: Path) -> None:
    issued = make_certificate(names=["dns:www.example.com"])
    info = "ssl_conf_command ServerInfoFile {}/info.pem;".format(tmp_path / "nginx")
    servers = [
        NginxServer(
            chain_pem=issued.pem,
            key_pem=issued.key_pem,
            directives=f"ssl_protocols {version}; {more}",
            files={"info.pem": server_info()},
        )
        for version in ("TLSv1.2", "TLSv1.3")
        for more in (info, "")
    ]
    with nginx(tmp_path, servers) as front:
        ran = run("scan", "--json", *[f"127.0.0.1:{each}" for each in front.ports])
    said = json.loads(ran.out)["observations"]
    by_port = {int(each["location"].split(":")[2].partition("/")[0]): each for each in said}
    found = [by_port[each] for each in front.ports]
    assert [each["error"] for each in found] == [None] * 4
    assert [each["facts"]["tls_version"] for each in found] == ["TLSv1.2"] * 2 + ["TLSv1.3"] * 2
    sent = base64.b64encode(SENT).decode()
    assert [each["facts"].get("tls_timestamps") for each in found] == [sent, None, sent, None]
