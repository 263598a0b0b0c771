"""STARTTLS of real servers: what is seen is what they were given, and a server without TLS says so."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.observation import Observation
from certwatch.plugins.testing import collect, make_ca, make_certificate
from collectors.tls import TLSCollector
from tests.support.databases import mariadb, postgresql
from tests.support.far_sides import LOGIN7, NewsServer, SQLServer, listening
from tests.support.s_server import showcerts
from tests.support.servers import program
from tests.support.starttls_servers import dovecot, folder_of, prosody, slapd, vsftpd, xrdp

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(60)]

ROOT = make_ca()
DOMAIN = "im.example.com"
ISSUED = make_certificate(
    names=[f"dns:{DOMAIN}"], issuer=make_ca("Test Intermediate", issuer=ROOT, key_number=101)
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """One loop is enough here: the servers are what is tried."""
    return "asyncio", {"use_uvloop": True}


async def seen(target: str, **config: Any) -> Observation:
    (observation,) = await collect(TLSCollector, {"targets": [target]} | config)
    assert isinstance(observation, Observation)
    return observation


async def shows_its_chain(port: int, protocol: str) -> None:
    observation = await seen(f"127.0.0.1:{port}/{protocol}", server_name=DOMAIN)
    assert observation.error is None
    assert observation.chain == ISSUED.chain_der
    assert observation.location == f"tls://127.0.0.1:{port}/?sni={DOMAIN}&protocol={protocol}"
    assert isinstance(observation.facts["starttls_seconds"], float)
    assert str(observation.facts["tls_version"]) in ("TLSv1.2", "TLSv1.3")


async def says_not_tls(target: str, *words: str) -> None:
    observation = await seen(target, server_name=DOMAIN)
    assert observation.chain == ()
    assert observation.error is not None
    assert observation.error.kind == "not-tls", observation.error
    for each in words:
        assert each in observation.error.message


async def test_dovecot_by_imap_pop3_lmtp_and_sieve() -> None:
    with dovecot(ISSUED) as ports:
        for protocol, port in ports.items():
            await shows_its_chain(port, protocol)
            assert showcerts(port, "-starttls", protocol, name=DOMAIN) == ISSUED.chain_der
        for protocol in ("imap", "pop3", "sieve"):
            await says_not_tls(f"127.0.0.1:{ports[protocol]}", f"host:port/{protocol}")


async def test_dovecot_without_tls() -> None:
    with dovecot(ISSUED, settings="ssl = no") as ports:
        for protocol, port in ports.items():
            await says_not_tls(f"127.0.0.1:{port}/{protocol}", "does not offer")


async def test_vsftpd() -> None:
    with vsftpd(ISSUED) as port:
        await shows_its_chain(port, "ftp")
        assert showcerts(port, "-starttls", "ftp", name=DOMAIN) == ISSUED.chain_der


async def test_vsftpd_without_tls() -> None:
    with vsftpd(ISSUED, settings="ssl_enable=NO") as port:
        await says_not_tls(f"127.0.0.1:{port}/ftp", "AUTH TLS")


async def test_slapd() -> None:
    with slapd(ISSUED, ROOT) as port:
        observation = await seen(f"127.0.0.1:{port}/ldap", server_name=DOMAIN)
        # It may send its root along.
        assert observation.error is None
        assert observation.chain[:2] == ISSUED.chain_der
        assert observation.chain == showcerts(port, "-starttls", "ldap", name=DOMAIN)


async def test_slapd_without_tls() -> None:
    with slapd(ISSUED, ROOT, tls=False) as port:
        await says_not_tls(f"127.0.0.1:{port}/ldap", "refused StartTLS with result code")


async def test_prosody_for_clients_and_servers() -> None:
    with prosody(ISSUED, DOMAIN) as ports:
        for protocol, port in ports.items():
            await shows_its_chain(port, protocol)
        await says_not_tls(
            f"tls://127.0.0.1:{ports['xmpp-client']}/?sni=other.example&protocol=xmpp-client", "host-unknown"
        )


async def test_postgresql() -> None:
    with folder_of("postgres", ISSUED, owner="postgres") as folder:
        with postgresql(
            "ssl=on", f"ssl_cert_file={folder}/chain.pem", f"ssl_key_file={folder}/key.pem"
        ) as server:
            await shows_its_chain(server.port, "postgres")
            assert showcerts(server.port, "-starttls", "postgres", name=DOMAIN) == ISSUED.chain_der


async def test_postgresql_without_tls() -> None:
    with postgresql() as server:
        await says_not_tls(f"127.0.0.1:{server.port}/postgres", "ssl = on")


async def test_mariadb() -> None:
    with folder_of("mariadb", ISSUED, owner="mysql") as folder:
        with mariadb(f"--ssl-cert={folder}/chain.pem", f"--ssl-key={folder}/key.pem") as server:
            await shows_its_chain(server.port, "mysql")
            assert showcerts(server.port, "-starttls", "mysql", name=DOMAIN) == ISSUED.chain_der
            await says_not_tls(f"127.0.0.1:{server.port}", "host:port/mysql")


async def test_mariadb_without_tls() -> None:
    with mariadb("--skip-ssl") as server:
        await says_not_tls(f"127.0.0.1:{server.port}/mysql", "offers no TLS")


async def test_xrdp() -> None:
    with xrdp(ISSUED) as port:
        await shows_its_chain(port, "rdp")


async def test_xrdp_without_tls() -> None:
    with xrdp(ISSUED, security_layer="rdp") as port:
        await says_not_tls(f"127.0.0.1:{port}/rdp", "refused TLS")


async def test_sql_server_as_far_as_it_can_be_had_here(tmp_path: Path) -> None:
    # There is no SQL Server here. Its login is written out, and a real client, FreeTDS, vouches for it.
    server = SQLServer(ISSUED)
    async with listening(server) as port:
        (tmp_path / "freetds.conf").write_text(
            f"[here]\nhost = 127.0.0.1\nport = {port}\ntds version = 7.4\nencryption = require\n"
        )
        client = await asyncio.create_subprocess_exec(
            "timeout",
            "20",
            program("tsql", "freetds-bin"), "-S", "here", "-U", "somebody", "-P", "anything",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "FREETDSCONF": str(tmp_path / "freetds.conf")},
        )  # fmt: skip
        await client.wait()
        assert [each[0] for each in server.logins] == [LOGIN7]
        assert "somebody".encode("utf-16-le") in server.logins[0]
        await shows_its_chain(port, "mssql")
    async with listening(SQLServer(ISSUED, encryption=2)) as port:
        await says_not_tls(f"127.0.0.1:{port}/mssql", "offers no encryption")


async def test_netnews() -> None:
    async with listening(NewsServer(ISSUED)) as port:
        await shows_its_chain(port, "nntp")
        await says_not_tls(f"127.0.0.1:{port}", "host:port/nntp")
