"""Certificates of an outside CA by ACME: pebble, which validates for real, and the daemon's own server."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwatch.model.clock import system_clock
from certwatch.plugins.issuer import CertificateRequest, IssueFailed, IssuerContext
from certwatch.remediation.issuers.acme import AcmeConfig, AcmeIssuer
from certwatch.remediation.material import csr_for, material_of, new_key
from certwatch.x509.der import read
from tests.support.knot import KEY_NAME, KEY_SECRET, knot
from tests.support.pebble import pebble
from tests.support.servers import accepts, free_port, program, running

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(150)]
NAMES = ("dns:www.example.com", "dns:example.com")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def names_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real name server with example.com, all of it at 127.0.0.1, which takes signed updates."""
    records = "@ A 127.0.0.1\nwww A 127.0.0.1\n"
    with knot(tmp_path_factory.mktemp("knot"), "example.com", records, updates=True) as port:
        yield port


def request(names: tuple[str, ...] = NAMES, **more: Any) -> tuple[Any, CertificateRequest]:
    key = new_key("ec-p256")
    more.setdefault("replaces", None)
    return key, CertificateRequest(csr_pem=csr_for(key, names), names=names, idempotency_key="1", **more)


def issuer(folder: Path, directory: str, trust: Path, **keys: Any) -> AcmeIssuer:
    keys = {"directory": directory, "agree_to_terms": True, "trust_file": str(trust), "seconds": 60, **keys}
    return AcmeIssuer(AcmeConfig(**keys), IssuerContext(clock=system_clock, state_folder=folder / "state"))


async def issued(it: AcmeIssuer, names: tuple[str, ...] = NAMES, **more: Any) -> x509.Certificate:
    key, wanted = request(names, **more)
    made = material_of(key.public_key(), await it.issue(wanted), names, key_pem=b"")
    assert made.chain_pem.count(b"BEGIN CERTIFICATE") >= 2
    return x509.load_pem_x509_certificate(made.chain_pem)


async def test_by_a_listener_of_its_own(tmp_path: Path, names_port: int) -> None:
    http_port = free_port()
    with pebble(tmp_path, names_port=names_port, http_port=http_port) as ca:
        it = issuer(tmp_path, ca.directory_url, ca.root, http={"listen": f"127.0.0.1:{http_port}"})
        first = await issued(it)
        assert not accepts(http_port)
        # The account is made once, and for its owner alone.
        [account] = (tmp_path / "state").iterdir()
        held = account.read_text()
        assert stat.S_IMODE(account.stat().st_mode) == 0o600
        # Once more, for what it had: the CA is told what it replaces.
        from cryptography.hazmat.primitives.serialization import Encoding

        former = read(first.public_bytes(Encoding.DER))
        second = await issued(it, replaces=former)
        assert second.serial_number != first.serial_number
        assert account.read_text() == held
        await it.revoke(former, "superseded")
        await it.revoke(former, "superseded")
        # What is not of that CA is no reason to give none.
        foreign = read(x509_of_another_ca())
        await issued(it, replaces=foreign)


def x509_of_another_ca() -> bytes:
    from certwatch.plugins.testing import make_ca, make_certificate

    return make_certificate(issuer=make_ca("Other", key_number=551), key_number=552).der


async def test_by_a_web_servers_folder(tmp_path: Path, names_port: int) -> None:
    http_port, webroot = free_port(), tmp_path / "webroot"
    webroot.mkdir()
    command: list[str | Path] = [
        "python3",
        "-m",
        "http.server",
        str(http_port),
        "--bind",
        "127.0.0.1",
        "-d",
        webroot,
    ]
    with (
        running(command, ready=lambda: accepts(http_port), log=tmp_path / "web.log"),
        pebble(tmp_path, names_port=names_port, http_port=http_port) as ca,
    ):
        await issued(issuer(tmp_path, ca.directory_url, ca.root, http={"webroot": str(webroot)}))
        assert list((webroot / ".well-known/acme-challenge").iterdir()) == []


def dns_keys(tmp_path: Path, port: int) -> dict[str, Any]:
    secret = tmp_path / "tsig"
    secret.write_text(f"{KEY_SECRET}\n")
    return {
        "server": f"127.0.0.1:{port}",
        "key_name": KEY_NAME,
        "key_secret_file": str(secret),
        "wait": "0s",
    }


async def test_a_wildcard_by_updates_of_the_zone(tmp_path: Path, names_port: int) -> None:
    with pebble(tmp_path, names_port=names_port) as ca:
        it = issuer(tmp_path, ca.directory_url, ca.root, dns=dns_keys(tmp_path, names_port))
        made = await issued(it, ("dns:*.example.com", "dns:example.com"))
        san = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(san.get_values_for_type(x509.DNSName)) == {"*.example.com", "example.com"}
        # Nothing is left in the zone.
        import dns.message
        import dns.query

        asked = dns.message.make_query("_acme-challenge.example.com", "TXT")
        assert dns.query.udp(asked, "127.0.0.1", timeout=10, port=names_port).answer == []


async def test_a_name_server_that_refuses_is_named(tmp_path: Path, names_port: int) -> None:
    with pebble(tmp_path, names_port=names_port) as ca:
        keys = {**dns_keys(tmp_path, names_port), "key_name": None, "key_secret_file": None}
        it = issuer(tmp_path, ca.directory_url, ca.root, dns=keys)
        with pytest.raises(
            IssueFailed, match=rf"127\.0\.0\.1:{names_port}: refuses to add .*: (REFUSED|NOTAUTH)"
        ):
            await it.issue(request()[1])


@contextmanager
def challenge_server(folder: Path) -> Iterator[tuple[int, int]]:
    """pebble-challtestsrv: ports of its DNS and of its management."""
    port, management = free_port(), free_port()
    words = [
        program("pebble-challtestsrv", "pebble"), "-dns01", f"127.0.0.1:{port}", "-management", f"127.0.0.1:{management}",
        "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
    ]  # fmt: skip
    with running(words, ready=lambda: accepts(management), log=folder / "names.log"):
        yield port, management


async def test_by_a_command_that_knows_the_name_server(tmp_path: Path) -> None:
    with (
        challenge_server(tmp_path) as (port, management),
        pebble(
            tmp_path,
            names_port=port,
            bindings={"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
        ) as ca,
    ):
        hook = tmp_path / "hook"
        hook.write_text(
            f"""#!/bin/sh
echo "$1 $2" >> {tmp_path}/told
case "$1" in add) verb=set-txt;; *) verb=clear-txt;; esac
exec curl -fsS -d '{{"host":"'"$2"'.","value":"'"$3"'"}}' http://127.0.0.1:{management}/$verb
"""
        )
        hook.chmod(0o700)
        binding = tmp_path / "binding"
        keys: dict[str, Any] = {
            "dns": {"hook": [str(hook)], "wait": "0s"},
            "binding": "kid-1",
            "binding_key_file": str(binding),
        }
        # Another key than the CA gave: no account.
        binding.write_text("b" * 64)
        with pytest.raises(IssueFailed, match=r"directory|/dir: "):
            await issuer(tmp_path / "wrong", ca.directory_url, ca.root, **keys).issue(request()[1])
        binding.write_text("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n")
        await issued(issuer(tmp_path, ca.directory_url, ca.root, **keys), ("dns:www.example.com",))
        told = (tmp_path / "told").read_text().splitlines()
        assert told == ["add _acme-challenge.www.example.com", "remove _acme-challenge.www.example.com"]


async def test_a_name_that_is_not_proven_is_said_and_is_tried_again_later(
    tmp_path: Path, names_port: int
) -> None:
    with pebble(tmp_path, names_port=names_port) as ca:
        it = issuer(tmp_path, ca.directory_url, ca.root, http={"listen": f"127.0.0.1:{free_port()}"})
        with pytest.raises(IssueFailed, match=r"www\.example\.com: http-01: ") as failed:
            await it.issue(request(("dns:www.example.com",))[1])
        assert (failed.value.kind, failed.value.again) == ("refused", True)


async def test_a_ca_that_is_down_is_asked_again_later(tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{free_port()}/dir"
    trust = tmp_path / "none.pem"
    trust.write_text("")
    keys = {"directory": url, "agree_to_terms": True, "http": {"listen": f"127.0.0.1:{free_port()}"}}
    it = AcmeIssuer(AcmeConfig(**keys), IssuerContext(clock=system_clock, state_folder=tmp_path / "state"))  # type: ignore[arg-type]
    with pytest.raises(IssueFailed) as failed:
        await it.issue(request()[1])
    assert (failed.value.kind, failed.value.again) == ("unavailable", True)
    assert url in failed.value.message
