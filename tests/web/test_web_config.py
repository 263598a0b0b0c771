"""The exporter-toolkit's web config: what is read, and what a port does by it."""

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.config.mistakes import ConfigError
from certwatch.plugins.testing import Issued, make_certificate
from certwatch.web.app import make_app
from certwatch.web.guard import OnlyTelemetry, WebGuard, _credentials
from certwatch.web.port import Port, load_web_config
from certwatch.web.server import is_loopback
from certwatch.web.web_config import WebConfig, read
from tests.support.servers import free_port
from tests.web.test_app import site

PASSWORD = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
#: OpenSSL asks the real clock.
LATE = datetime(2100, 1, 1, tzinfo=UTC)
CA = make_certificate(subject="ca", is_ca=True, not_after=LATE, key_number=2)


def issued(folder: Path, name: str, stem: str, **more: Any) -> Issued:
    made = make_certificate(names=[f"dns:{name}"], issuer=CA, not_after=LATE, **more)
    (folder / f"{stem}.pem").write_bytes(made.chain_pem)
    (folder / f"{stem}.key").write_bytes(made.key_pem)
    return made


def written(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


def tls_text(**more: object) -> str:
    lines = {"cert_file": "server.pem", "key_file": "server.key", **more}
    return "tls_server_config:\n" + "".join(f"  {key}: {value}\n" for key, value in lines.items())


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_web_config(written(folder, text))
    return str(caught.value).replace(str(folder), "")


def test_prometheus_own_sample_is_taken_whole(tmp_path: Path) -> None:
    issued(tmp_path, "certwatch.test", "server")
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    text = tls_text(
        client_auth_type="RequireAndVerifyClientCert",
        client_ca_file="ca.pem",
        client_allowed_sans="[prometheus.test]",
        min_version="TLS12",
        max_version="TLS13",
        cipher_suites="[TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]",
        prefer_server_cipher_suites="true",
        curve_preferences="[CurveP256]",
    )
    text += (
        "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n"
        '    Strict-Transport-Security: max-age=3600\n    Content-Security-Policy: ""\n'
        f"basic_auth_users:\n  alice: {PASSWORD.replace('$2b$', '$2y$')}\nrate_limit: {{interval: 1s, burst: 20}}\n"
    )
    loaded = load_web_config(written(tmp_path, text))
    config = loaded.config
    assert config.tls is not None
    assert config.tls.client_required
    assert config.headers == {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=3600"}
    assert (config.interval_seconds, config.burst, list(config.users)) == (1.0, 20, ["alice"])
    assert [each.name for each in config.files] == ["web.yml", "server.pem", "server.key", "ca.pem"]
    assert PASSWORD not in repr(config)


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    assert read(written(tmp_path, "")) == WebConfig(files=(tmp_path / "web.yml",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls_server_confg: {}", 'tls_server_confg: unknown key, did you mean "tls_server_config"?'),
        ("[]", "a web config is keys with values"),
        (tls_text(cert_file="gone.pem"), "tls_server_config.cert_file: /gone.pem: No such file or directory"),
        ("tls_server_config: {cert_file: server.pem}", "key_file is missing"),
        (tls_text(cert="x"), "both cert and cert_file are given"),
        (tls_text(key_file="other.key"), "cannot be used: KEY_VALUES_MISMATCH"),
        (tls_text(client_ca_file="ca.pem"), "a client CA is given and not used"),
        (tls_text(client_auth_type="RequireAnyClientCert"), "lets everybody in who has any certificate"),
        (tls_text(client_auth_type="RequireAndVerifyClientCert"), "client_ca_file is missing"),
        (tls_text(client_allowed_sans="[a]"), "client_allowed_sans: needs client_auth_type"),
        (tls_text(min_version="TLS13", max_version="TLS12"), "TLS13 is later than max_version TLS12"),
        (tls_text(cipher_suites="[TLS_MAGIC]"), "unknown cipher suite 'TLS_MAGIC'"),
        ("basic_auth_users: {alice: secret}", "not a bcrypt hash. Make one with: htpasswd"),
        ("basic_auth_users:\n  alice: " + PASSWORD.replace("$04$", "$31$"), "its cost is 31"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    issued(tmp_path, "certwatch.test", "server")
    issued(tmp_path, "certwatch.test", "other", key_number=3)
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    message = wrong(tmp_path, text)
    assert said in message
    assert message.startswith("/web.yml:")
    assert "secret" not in message.replace("tls_server", "")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    made = issued(tmp_path, "certwatch.test", "server")
    key = serialization.load_pem_private_key(made.key_pem, None)
    (tmp_path / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    assert "passphrase" in wrong(tmp_path, tls_text())


@given(st.text())
def test_no_authorization_header_breaks_it(header: str) -> None:
    _credentials(header)
    _credentials("Basic " + header)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), (":1", False), ("0.0.0.0:1", False), ("h:1", False)],
)  # fmt: skip
def test_which_addresses_others_reach(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


# -- a port with it

anyio = pytest.mark.anyio


@asynccontextmanager
async def open_port(web_config: Path | None, **more: Any) -> AsyncIterator[Port]:
    loaded = load_web_config(web_config) if web_config is not None else None
    port = Port(f"127.0.0.1:{free_port()}", loaded, **more)
    port.answer(make_app(site()))
    port.server.start()
    try:
        yield port
    finally:
        async with asyncio.timeout(5):
            await port.server.stop()


def quiet() -> None:
    """In debug mode asyncio tells the loop of every handshake that fails, which is what is wanted here."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)


def client_context(*, certificate: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT if hasattr(ssl, "VERIFY_X509_STRICT") else ~0
    if certificate is not None:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


async def status(port: Port, path: str = "/-/healthy", **more: Any) -> int:
    auth = more.pop("auth", None)
    async with httpx.AsyncClient(base_url=port.server.url, **more) as http:
        return (await http.get(path, auth=auth)).status_code


@anyio
async def test_users_are_asked_for_their_password_whatever_they_ask(tmp_path: Path) -> None:
    async with open_port(written(tmp_path, f"basic_auth_users: {{alice: '{PASSWORD}'}}")) as port:
        for path in ("/", "/metrics", "/-/healthy", "/nothing"):
            assert await status(port, path) == 401
        assert await status(port, auth=("alice", "open sesame")) == 200
        assert await status(port, auth=("alice", "open sesame")) == 200  # remembered
        assert await status(port, auth=("alice", "open sesam")) == 401
        assert await status(port, auth=("bob", "open sesame")) == 401
        assert await status(port, auth=("alice", "x\0" + "y" * 500)) == 401
        async with httpx.AsyncClient(base_url=port.server.url) as http:
            answer = await http.get("/")
            assert answer.headers["www-authenticate"].startswith("Basic ")
            bare = await http.get(
                "/", headers={"authorization": "Basic " + base64.b64encode(b"alice").decode()}
            )
            assert bare.status_code == 401


@anyio
async def test_headers_are_added_to_every_answer_in_place_of_ours(tmp_path: Path) -> None:
    text = "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: 'default-src x'}}"
    async with (
        open_port(written(tmp_path, text)) as port,
        httpx.AsyncClient(base_url=port.server.url) as http,
    ):
        answer = await http.get("/static/certwatch.css")
        assert answer.headers["x-frame-options"] == "deny"
        assert answer.headers.get_list("content-security-policy") == ["default-src x"]


@anyio
async def test_requests_beyond_the_rate_are_refused(tmp_path: Path) -> None:
    async with open_port(written(tmp_path, "rate_limit: {interval: 1h, burst: 2}")) as port:
        assert [await status(port) for _ in range(3)] == [200, 200, 429]


@anyio
async def test_it_speaks_tls_and_takes_a_renewed_certificate_with_the_next_handshake(tmp_path: Path) -> None:
    first = issued(tmp_path, "certwatch.test", "server")
    async with open_port(written(tmp_path, tls_text())) as port:
        assert port.server.url.startswith("https://")
        assert await status(port, verify=client_context()) == 200
        following = asyncio.create_task(port.follow())
        second = issued(tmp_path, "certwatch.test", "server")
        try:
            async with asyncio.timeout(15):
                while (seen := await presented(port)) == first.der:
                    await asyncio.sleep(0.05)
                    # The kernel's word could have come before the watch had begun: another touch is told.
                    os.utime(tmp_path / "server.pem")
            assert seen == second.der
            # A file that cannot be used changes nothing.
            (tmp_path / "server.key").write_text("no key")
            await port._refresh()
            assert await presented(port) == second.der
            assert await status(port, verify=client_context()) == 200
        finally:
            following.cancel()
            await asyncio.wait([following])


async def presented(port: Port) -> bytes | None:
    host, number = port.address.split(":")
    context = client_context()
    _, writer = await asyncio.open_connection(
        host, int(number), ssl=context, server_hostname="certwatch.test"
    )
    try:
        found: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return found.getpeercert(binary_form=True)
    finally:
        writer.close()


@anyio
async def test_clients_need_the_certificate_and_the_name_that_are_asked_for(tmp_path: Path) -> None:
    issued(tmp_path, "certwatch.test", "server")
    issued(tmp_path, "prometheus.test", "prometheus")
    issued(tmp_path, "stranger.test", "stranger")
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    text = tls_text(
        client_auth_type="RequireAndVerifyClientCert",
        client_ca_file="ca.pem",
        client_allowed_sans="[prometheus.test]",
    )
    async with open_port(written(tmp_path, text)) as port:
        quiet()
        mine = client_context(certificate=tmp_path / "prometheus.pem")
        assert await status(port, verify=mine) == 200
        for other in (client_context(), client_context(certificate=tmp_path / "stranger.pem")):
            with pytest.raises(httpx.TransportError):
                await status(port, verify=other)


@anyio
async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    issued(tmp_path, "certwatch.test", "server")
    async with open_port(written(tmp_path, tls_text(min_version="TLS13"))) as port:
        quiet()
        old = client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError):
            await status(port, verify=old)
        assert await status(port, verify=client_context()) == 200


def test_another_way_of_asking_for_client_certificates_takes_another_port(tmp_path: Path) -> None:
    issued(tmp_path, "certwatch.test", "server")
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    before = load_web_config(written(tmp_path, tls_text()))
    port = Port(f"127.0.0.1:{free_port()}", before)
    issued(tmp_path, "certwatch.test", "server")
    assert port.fits(port.address, load_web_config(written(tmp_path, tls_text())))
    asks = tls_text(client_auth_type="VerifyClientCertIfGiven", client_ca_file="ca.pem")
    after = load_web_config(written(tmp_path, asks))
    assert not port.fits(port.address, after)
    assert not port.fits(port.address, None)
    assert not port.fits("127.0.0.1:1", before)
    other = Port(port.address, after, former=port)
    for each in (port, other):
        each.server._socket.close()


# -- without one


@anyio
async def test_strangers_get_metrics_and_health_and_nothing_else() -> None:
    transport = httpx.ASGITransport(OnlyTelemetry(make_app(site())))
    async with httpx.AsyncClient(transport=transport, base_url="http://certwatch.test") as http:
        assert (await http.get("/-/healthy")).status_code == 200
        assert (await http.get("/-/ready")).status_code == 200
        assert (await http.get("/metrics")).status_code == 404  # there is no exporter here
        for path in (
            "/",
            "/api/v1/status",
            "/probe?target=x",
            "/metrics/",
            "//metrics",
            "/%2Fmetrics",
            "/static/x",
        ):
            answer = await http.get(path)
            assert (answer.status_code, "--insecure-listen" in answer.text) == (403, True), path
        assert (await http.post("/-/reload")).status_code == 403


@anyio
async def test_a_web_config_that_keeps_nobody_out_opens_nothing(tmp_path: Path) -> None:
    # An editor that empties the file before it writes it opened the port to everybody for that moment.
    async def status(text: str, **more: Any) -> int:
        port = Port("0.0.0.0:0", load_web_config(written(tmp_path, text)), **more)
        port.server._socket.close()
        port.answer(make_app(site()))
        transport = httpx.ASGITransport(port._outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://certwatch.test") as http:
            assert (await http.get("/-/healthy")).status_code in (200, 401)
            return (await http.get("/api/v1/status")).status_code

    user = "basic_auth_users: {alice: $2y$10$pTkhU/IEI9yWE/p/l1fTg.YSn0NxclNKSQZhMUFgwfTXekx4qLhvK}\n"
    assert await status("") == 403
    assert await status("rate_limit: {interval: 1ms, burst: 10}\n") == 403
    assert await status(user) == 401
    issued(tmp_path, "certwatch.test", "server")
    # It is let through, to a site that has no inventory.
    assert await status("", insecure=True) == 503
    assert await status(tls_text()) == 503


def test_who_is_behind_what_follows_from_the_address() -> None:
    def outer(address: str, **more: Any) -> object:
        port = Port(address, None, **more)
        port.server._socket.close()
        return port._outer

    assert isinstance(outer(":0"), OnlyTelemetry)
    assert isinstance(outer("0.0.0.0:0"), OnlyTelemetry)
    assert not isinstance(outer("0.0.0.0:0", insecure=True), OnlyTelemetry)
    assert not isinstance(outer("127.0.0.1:0"), OnlyTelemetry | WebGuard)
