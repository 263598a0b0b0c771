"""`/probe`: its modules, its judgement of chains, and servers that lie to it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.applications import Starlette

from certwatch.pki.trust import TrustStore
from certwatch.plugins.exporter import ExporterContext
from certwatch.plugins.testing import EPOCH, FakeClock, make_ca, make_certificate
from certwatch.x509 import der
from exporters.prometheus import PrometheusConfig, PrometheusExporter, go_names
from exporters.prometheus.probe.answer import FAMILIES, staple_samples
from exporters.prometheus.probe.judged import Judgements
from exporters.prometheus.probe.looking import ProbeFailed
from exporters.prometheus.probe.modules import BUILT_IN, read_modules
from exporters.prometheus.probe.tcp import expanded, split_target

ROOT = make_ca("Root")
CA = make_ca("CA", issuer=ROOT, key_number=101)
LEAF = make_certificate(issuer=CA)
TRUST = TrustStore.from_certificates("test", [der.read(ROOT.der)])

# -- modules


def wrong(folder: Path, text: str) -> str:
    (folder / "blackbox.yml").write_text(text)
    with pytest.raises(ValidationError) as caught:
        PrometheusConfig.model_validate({"probe": str(folder / "blackbox.yml")})
    return str(caught.value.errors()[0]["msg"]).replace(str(folder), "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modules: {a: {prober: tcp, tpc: {}}}", 'modules.a.tpc: unknown key, did you mean "tcp"?'),
        ("modules: {a: {prober: smtp}}", "modules.a.prober: Input should be 'tcp'"),
        ("modules: {a: {prober: tcp, tcp: {query_response: [{expect: '('}]}}}", "not a regular expression: missing )"),
        ("modules: {a: {prober: tcp, timeout: soon}}", "modules.a.timeout: not a duration"),
        ("modules: {a: {prober: tcp, tcp: {query_response: [{expect: a, expect_bytes: b}]}}}", "exclude one another"),
        ("modules: {a: {prober: http, http: {body: x, body_file: y}}}", "body and body_file exclude one another"),
        ("a: [", "blackbox.yml:1: not YAML"),
        ("[]", "expected modules: {NAME: …}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_file_is_said_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    message = wrong(tmp_path, text)
    assert said in message
    assert "/blackbox.yml" in message


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ValidationError, match="No such file or directory"):
        PrometheusConfig.model_validate({"probe": "/nowhere/blackbox.yml"})


def test_blackbox_exporters_own_file_is_taken_whole(tmp_path: Path) -> None:
    # Facts of its shipped blackbox.yml: the modules and what is special in each.
    (tmp_path / "blackbox.yml").write_text(
        """
modules:
  http_2xx: {prober: http, http: {preferred_ip_protocol: "ip4"}}
  http_post_2xx: {prober: http, http: {method: POST}}
  tcp_connect: {prober: tcp, tcp: }
  pop3s_banner: {prober: tcp, tcp: {query_response: [{expect: "^+OK"}], tls: true, tls_config: {insecure_skip_verify: false}}}
  grpc: {prober: grpc, grpc: {tls: true, preferred_ip_protocol: "ip4"}}
  ssh_banner_extract:
    prober: tcp
    timeout: 5s
    tcp: {query_response: [{expect: "^SSH-2.0-([^ -]+)(?: (.*))?$", labels: [{name: ssh_version, value: "${1}"}]}]}
  irc_banner: {prober: tcp, tcp: {query_response: [{expect: "PING :([^ ]+)", send: "PONG ${1}"}]}}
  icmp_ttl5: {prober: icmp, timeout: 5s, icmp: {ttl: 5}}
  websocket: {prober: websocket}
  http_3xx: {prober: http, http: {enable_http3: true, enable_http2: false, valid_http_versions: ["HTTP/3.0"]}}
  postgresql:
    prober: tcp
    tcp: {query_response: [{send: !!binary AAAACATSFi8=}, {expect_bytes: S}, {starttls: true}]}
"""
    )
    found = read_modules(str(tmp_path / "blackbox.yml"))
    assert found is not None
    assert found.modules["postgresql"].tcp.query_response[0].send == bytes.fromhex("0000000804d2162f")
    unsupported = {name: each.unsupported for name, each in found.modules.items() if each.unsupported}
    assert list(unsupported) == ["grpc", "icmp_ttl5", "websocket", "http_3xx"]
    assert "keep blackbox_exporter" in unsupported["http_3xx"]


def test_ssl_exporters_own_file_is_taken_whole(tmp_path: Path) -> None:
    # Facts of its shipped file: TLS stands with the module, tcp implies it.
    (tmp_path / "ssl.yml").write_text(
        """
default_module: https
modules:
  https: {prober: https}
  https_insecure: {prober: https, tls_config: {insecure_skip_verify: true}}
  https_renegotiation: {prober: https, tls_config: {renegotiation: freely}}
  https_proxy: {prober: https, https: {proxy_url: "socks5://localhost:8123"}}
  https_timeout: {prober: https, timeout: 3s}
  tcp: {prober: tcp}
  tcp_servername: {prober: tcp, tls_config: {server_name: example.com}}
  tcp_client_auth: {prober: tcp, tls_config: {ca_file: /etc/tls/ca.crt, cert_file: /etc/tls/tls.crt, key_file: /etc/tls/tls.key}}
  tcp_smtp_starttls: {prober: tcp, tcp: {starttls: smtp}}
  http_file: {prober: http_file}
  http_file_proxy: {prober: http_file, http_file: {proxy_url: "socks5://localhost:8123"}}
  file: {prober: file}
  file_ca_certificates: {prober: file, target: /etc/ssl/certs/ca-certificates.crt}
  kubernetes: {prober: kubernetes}
  kubernetes_kubeconfig: {prober: kubernetes, kubernetes: {kubeconfig: /root/.kube/config}}
  kubeconfig: {prober: kubeconfig}
"""
    )
    found = read_modules(str(tmp_path / "ssl.yml"))
    assert found is not None
    assert found.default == "https"
    assert {name for name, each in found.modules.items() if not each.unsupported} == {
        "https", "https_insecure", "https_renegotiation", "https_timeout", "tcp", "tcp_servername",
        "tcp_client_auth", "tcp_smtp_starttls",
    }  # fmt: skip
    assert found.modules["tcp"].tcp.tls
    assert found.modules["tcp_servername"].tcp.tls_config.server_name == "example.com"


def test_a_changed_file_is_another_config(tmp_path: Path) -> None:
    path = tmp_path / "blackbox.yml"
    path.write_text("modules: {a: {prober: tcp, tcp: {query_response: [{expect: x}]}}}")
    first = PrometheusConfig(probe=str(path))  # type: ignore[arg-type]
    assert PrometheusConfig(probe=str(path)) == first  # type: ignore[arg-type]
    path.write_text("modules: {a: {prober: http}}")
    assert PrometheusConfig(probe=str(path)) != first  # type: ignore[arg-type]


def test_secrets_of_modules_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(
        "modules: {a: {prober: http, http: {basic_auth: {username: u, password: hidden}}}}"
    )
    found = read_modules(str(tmp_path / "b.yml"))
    assert "hidden" not in repr(found)


# -- what Go would say


@pytest.mark.parametrize(
    ("template", "line", "result"),
    [
        (b"PONG $1", b"PING :x", b"PONG x"),
        (b"PONG ${1}a", b"PING :x", b"PONG xa"),
        (b"$$1 $9 ${name}", b"PING :x", b"$1  "),
        (b"plain", b"PING :x", b"plain"),
    ],
)
def test_templates_are_filled_as_by_go(template: bytes, line: bytes, result: bytes) -> None:
    assert expanded(template, re2.compile(b"PING :([^ ]+)").search(line)) == result


@given(st.binary())
def test_no_template_breaks_it(template: bytes) -> None:
    expanded(template, re2.compile(b"(a)").search(b"a"))


@given(st.text())
def test_no_target_breaks_it(target: str) -> None:
    try:
        host, port = split_target(target)
    except ProbeFailed:
        return
    assert host
    assert 0 < port < 65536


def test_names_are_written_as_go_writes_them() -> None:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "a, b"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "one"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "two"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "#Org "),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.com"),
        ]
    ).public_bytes()
    assert go_names.distinguished_name(name) == (
        r"CN=a\, b,OU=one+OU=two,O=\#Org\ ,C=DE,1.2.840.113549.1.9.1=#" + (b"\x0c\x0da@example.com").hex()
    )
    assert go_names.distinguished_name(None) == ""
    assert go_names.distinguished_name(b"\x30\x02\x31\x05") == ""


# -- chains


def judge(*ders: bytes, host: str = "www.example.com", now: Any = EPOCH, trust: TrustStore = TRUST) -> Any:
    return Judgements(trust).judge(ders, host, now)


def test_a_chain_is_judged_by_what_clients_need_of_it() -> None:
    good = judge(LEAF.der, CA.der)
    assert good.fault == ""
    assert good.earliest == good.last == EPOCH + timedelta(days=60)
    assert [each.subject for each in good.paths[0]] == ["CN=www.example.com", "CN=CA", "CN=Root"]


def test_a_superfluous_certificate_has_no_say() -> None:
    stray = make_certificate(not_after=EPOCH - timedelta(days=1), key_number=7)
    assert judge(LEAF.der, CA.der, stray.der).earliest == EPOCH + timedelta(days=60)


def test_of_several_ways_the_one_that_lasts_longest_counts() -> None:
    old = make_ca("Old", key_number=120, not_after=EPOCH + timedelta(days=5))
    cross = make_certificate(
        names=(), subject="CA", issuer=old, is_ca=True, key_number=101, not_after=EPOCH + timedelta(days=5)
    )
    both = TrustStore.from_certificates("both", [der.read(ROOT.der), der.read(old.der)])
    judged = judge(LEAF.der, cross.der, CA.der, trust=both)
    assert len(judged.paths) == 2
    assert judged.last == EPOCH + timedelta(days=60)


@pytest.mark.parametrize(
    ("host", "days", "said"),
    [
        ("other.example.com", 0, "does not speak for other.example.com"),
        ("192.0.2.1", 0, "does not speak for 192.0.2.1"),
        ("www.example.com", 61, "has expired"),
        ("www.example.com", -31, "is not valid yet"),
    ],
)
def test_why_a_client_refuses_it(host: str, days: int, said: str) -> None:
    judged = judge(LEAF.der, CA.der, host=host, now=EPOCH + timedelta(days=days))
    assert said in judged.fault
    assert judged.earliest == EPOCH + timedelta(days=60)


def test_what_leads_nowhere_has_no_end_of_its_chain() -> None:
    judged = judge(make_certificate(key_number=9).der)
    assert judged.last is None
    assert "leads to no certificate that is trusted" in judged.fault


@pytest.mark.anyio
async def test_a_judgement_is_remembered_until_its_time_is_over() -> None:
    known = Judgements(TRUST)
    first = await known.of((LEAF.der, CA.der), "www.example.com", EPOCH)
    again = await known.of((LEAF.der, CA.der), "www.example.com", EPOCH + timedelta(days=59))
    assert again is first
    later = await known.of((LEAF.der, CA.der), "www.example.com", EPOCH + timedelta(days=60, seconds=1))
    assert later is not first
    assert later.fault


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_no_garbage_breaks_it(ders: list[bytes]) -> None:
    assert judge(*ders).fault


def test_without_a_staple_there_is_no_status() -> None:
    assert staple_samples(None) == {"ssl_ocsp_response_stapled": "ssl_ocsp_response_stapled 0\n"}
    assert list(staple_samples(b"garbage")) == ["ssl_ocsp_response_stapled"]


# -- the route

pytestmark = pytest.mark.anyio


def client(config: dict[str, Any]) -> httpx.AsyncClient:
    exporter = PrometheusExporter(
        "prometheus",
        PrometheusConfig.model_validate(config),
        ExporterContext(clock=FakeClock(), view=None),  # type: ignore[arg-type]
    )
    transport = httpx.ASGITransport(Starlette(routes=exporter.routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_without_the_option_there_is_no_probe() -> None:
    async with client({}) as http:
        assert (await http.get("/probe?target=x")).status_code == 404


async def test_what_cannot_be_asked_is_refused_in_words() -> None:
    async with client({"probe": True}) as http:
        for query, said in (
            ("target=x&module=none", 'Unknown module "none"'),
            ("module=tcp_connect", "Target parameter is missing"),
            ("target=a%0Ab&module=tcp_connect", "Target parameter is no target"),
        ):
            answer = await http.get(f"/probe?{query}")
            assert (answer.status_code, answer.text) == (400, said + "\n")
        odd = await http.get(
            "/probe?target=x&module=tcp_connect", headers={"X-Prometheus-Scrape-Timeout-Seconds": "nan"}
        )
        assert odd.status_code == 400
    assert set(BUILT_IN) == {"http_2xx", "http_post_2xx", "tcp_connect", "tcp_tls"}


async def test_a_page_of_a_stranger_cannot_make_us_probe() -> None:
    async with client({"probe": True}) as http:
        url = "/probe?target=127.0.0.1:1&module=tcp_connect"
        for site, status in (("cross-site", 403), ("same-site", 403), ("none", 200), ("same-origin", 200)):
            assert (await http.get(url, headers={"Sec-Fetch-Site": site})).status_code == status


async def test_a_module_that_is_not_ours_says_who_has_it(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(
        "modules: {ping: {prober: icmp}, lost: {prober: tcp, tcp: {tls: true, tls_config: {ca_file: /no/ca}}}}"
    )
    async with client({"probe": str(tmp_path / "b.yml")}) as http:
        answer = await http.get("/probe?target=x&module=ping")
        assert (answer.status_code, "icmp is not certwatch's" in answer.text) == (400, True)
        answer = await http.get("/probe?target=127.0.0.1:1&module=lost")
        assert (answer.status_code, "/no/ca: No such file" in answer.text) == (500, True)


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[int]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()


async def headers_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"A: " + b"b" * 4000 + b"\r\n")
        await writer.drain()


async def body_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b"b" * 65536 + b"\r\n")
        await writer.drain()


async def two_lengths(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    await writer.drain()


async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def redirect_elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


LIES = [endless, headers_without_end, body_without_end, two_lengths, nothing, redirect_elsewhere]


@pytest.mark.parametrize("talk", LIES)
@pytest.mark.parametrize("module", ["http_2xx", "tcp_tls", "banner"])
async def test_a_server_that_lies_costs_a_failed_probe_and_no_more(
    tmp_path: Path, module: str, talk: Talk
) -> None:
    (tmp_path / "b.yml").write_text(
        "modules: {http_2xx: {prober: http}, tcp_tls: {prober: tcp, tcp: {tls: true}},"
        " banner: {prober: tcp, tcp: {query_response: [{expect: ^never$}]}}}"
    )
    async with server(talk) as port, client({"probe": str(tmp_path / "b.yml"), "ssl_metrics": True}) as http:
        answer = await http.get(
            f"/probe?module={module}&target=127.0.0.1:{port}",
            headers={"X-Prometheus-Scrape-Timeout-Seconds": "1.1"},
        )
    assert answer.status_code == 200
    assert re.search(r"^probe_success 0$", answer.text, re.M)
    assert re.search(r"^ssl_probe_success 0$", answer.text, re.M)
    names = [line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE")]
    assert names == sorted(names)
    assert set(names) <= set(FAMILIES)


async def test_who_asks_for_it_is_told_what_happened() -> None:
    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with server(banner) as port, client({"probe": True}) as http:
        answer = await http.get(f"/probe?module=http_2xx&debug=true&target=127.0.0.1:{port}")
    assert "status 503 is not one that is valid" in answer.text
    assert "success: False" in answer.text
