"""Targets from a real name server: addresses, services, mail exchangers, whole zones."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.testing import collect, make_certificate
from collectors.tls import TLSCollector
from tests.support.knot import KEY_NAME, KEY_SECRET, knot
from tests.support.nginx import NginxServer, nginx
from tests.support.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

RECORDS = """
@ MX 10 mx
@ MX 20 mx2.elsewhere.test.
www A 127.0.0.1
www A 127.0.0.2
six AAAA ::1
alias CNAME www
* A 127.0.0.9
_service A 127.0.0.8
mx A 127.0.0.1
_https._tcp SRV 0 5 {port} www
_imap._tcp SRV 0 5 143 mail
_gone._tcp SRV 0 0 0 .
sub NS ns.sub
ns.sub A 127.0.0.3
text TXT "hello"
"""


class Collector(TLSCollector):
    """Names of the test's zone are nowhere else."""

    def lookup(self, name: str, family: Any) -> list[str]:
        if name in ("www.example.test", "alias.example.test"):
            return ["127.0.0.1"]
        raise OSError(-2, "Name or service not known")


def scan(source: dict[str, Any]) -> tuple[set[str], list[Incomplete]]:
    """Locations without the scheme, and what was incomplete for another reason than a name without address."""
    results = asyncio.run(collect(Collector, {"dns": [source], "timeout": 5}))
    places = {str(each.location).removeprefix("tls://") for each in results if isinstance(each, Observation)}
    wrong = [
        each
        for each in results
        if isinstance(each, Incomplete) and not each.scope.endswith((":443", ":25/smtp", ":143/imap"))
    ]
    return places, wrong


def test_names_services_and_mail_exchangers_lead_to_endpoints(tmp_path: Path) -> None:
    issued = make_certificate(names=["dns:www.example.test"])
    port = free_port()
    with (
        nginx(
            tmp_path,
            [NginxServer(chain_pem=issued.chain_pem, key_pem=issued.key_pem, host="0.0.0.0", port=port)],  # noqa: S104
        ),
        knot(tmp_path / "knot", "example.test", RECORDS.format(port=port)) as dns,
    ):
        server = {"server": f"127.0.0.1:{dns}"}
        at = {"names": ["www.example.test"], "type": "A", "ports": str(port), **server}
        places, wrong = scan(at)
        assert places == {f"127.0.0.{each}:{port}/?sni=www.example.test" for each in (1, 2)}
        assert wrong == []
        places, wrong = scan({"names": ["_https._tcp.example.test", "_gone._tcp.example.test"], **server})
        assert places == {f"127.0.0.1:{port}/?sni=www.example.test"}
        assert wrong == []
        places, _ = scan({"names": ["_imap._tcp.example.test"], **server})
        assert places == {"mail.example.test:143/?sni=mail.example.test&protocol=imap"}
        places, _ = scan({"names": ["example.test"], "type": "MX", **server})
        assert places == {
            f"{name}:25/?sni={name}&protocol=smtp" for name in ("mx.example.test", "mx2.elsewhere.test")
        }
        # DNS says that there is nothing: that is no fault.
        assert scan({"names": ["text.example.test"], "type": "A", **server}) == (set(), [])
        places, wrong = scan(
            {"names": ["www.example.test"], "type": "A", "server": f"127.0.0.1:{free_port()}", "timeout": 1}
        )
        assert (places, [each.error.kind for each in wrong], [each.scope for each in wrong]) == (
            set(),
            ["dns"],
            [""],
        )


def test_every_host_of_a_zone_is_a_target_where_it_may_be_transferred(tmp_path: Path) -> None:
    issued = make_certificate(names=["dns:www.example.test"])
    port = free_port()
    with (
        nginx(tmp_path, [NginxServer(chain_pem=issued.chain_pem, key_pem=issued.key_pem, port=port)]),
        knot(tmp_path / "knot", "example.test", RECORDS.format(port=port)) as dns,
        knot(tmp_path / "locked", "example.test", RECORDS.format(port=port), tsig=True) as locked,
    ):
        zone = {"zone": "example.test", "ports": str(port), "server": f"127.0.0.1:{dns}"}
        places, wrong = scan(zone)
        hosts = {"ns", "six", "mx", "ns.sub"}
        assert places == {
            f"127.0.0.1:{port}/?sni=www.example.test",
            f"127.0.0.1:{port}/?sni=alias.example.test",
            *(f"{host}.example.test:{port}/?sni={host}.example.test" for host in hosts),
            "mx.example.test:25/?sni=mx.example.test&protocol=smtp",
            "mx2.elsewhere.test:25/?sni=mx2.elsewhere.test&protocol=smtp",
            "mail.example.test:143/?sni=mail.example.test&protocol=imap",
        }
        places, wrong = scan({**zone, "server": f"127.0.0.1:{locked}"})
        assert places == set()
        assert [each.error.kind for each in wrong] == ["permission"]
        assert "Allow this host, or a TSIG key" in wrong[0].error.message
        key = {"name": KEY_NAME, "secret": KEY_SECRET}
        places, _ = scan({**zone, "server": f"127.0.0.1:{locked}", "tsig": key})
        assert f"127.0.0.1:{port}/?sni=www.example.test" in places
        places, wrong = scan({**zone, "server": f"127.0.0.1:{locked}", "tsig": {**key, "secret": "d3Jvbmc="}})
        assert (places, len(wrong)) == (set(), 1)
