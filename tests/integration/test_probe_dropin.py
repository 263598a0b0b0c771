"""certwatch in blackbox_exporter's place: the real one beside it, with the same file, on the same targets."""

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from tests.support.blackbox import blackbox_by
from tests.support.daemon import COMMAND
from tests.support.nginx import NginxServer, nginx
from tests.support.postfix import postfix
from tests.support.prometheus import get_json
from tests.support.servers import accepts, free_port, program, running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NAME = "www.example.com"
ROOT = make_ca("Root")
CA = make_ca("Intermediate", issuer=ROOT, key_number=101)
GOOD = make_certificate(names=[f"dns:{NAME}", "dns:example.com", "ip:127.0.0.1"], issuer=CA)
EXPIRED = make_certificate(names=[f"dns:{NAME}"], issuer=CA, not_after=EPOCH + timedelta(days=2))
#: The old root has signed the new one as well, and ends: clients take the way over the new one, which they know.
OLD_ROOT = make_ca("Old Root", key_number=110)
CROSS = make_certificate(
    names=(), subject="Root", issuer=OLD_ROOT, is_ca=True, key_number=100,
    not_before=EPOCH - timedelta(days=300), not_after=EPOCH + timedelta(days=1),
)  # fmt: skip

CLIENT = make_certificate(names=["dns:client"], issuer=CA, key_number=5)

HTTP = f"""
  location /moved {{ return 301 /; }}
  location /loop {{ return 302 /loop; }}
  location /none {{ return 404 "nothing"; }}
  location /post {{ if ($request_method != POST) {{ return 405; }} return 200 "posted"; }}
  location /header {{ add_header X-Version "7.1"; return 200 "versioned"; }}
  location /auth {{ if ($http_authorization != "Basic YWxpY2U6c2VzYW1l") {{ return 401; }} return 200 "in"; }}
  location /named {{ if ($host != "{NAME}") {{ return 404; }} return 200 "named"; }}
"""

MODULES = """
modules:
  tls: {{prober: tcp, timeout: 10s, tcp: {{tls: true, preferred_ip_protocol: ip4, tls_config: {{ca_file: {ca}, server_name: {name}}}}}}}
  tls_unnamed: {{prober: tcp, timeout: 10s, tcp: {{tls: true, preferred_ip_protocol: ip4, tls_config: {{ca_file: {ca}}}}}}}
  tls_any: {{prober: tcp, timeout: 10s, tcp: {{tls: true, preferred_ip_protocol: ip4, tls_config: {{insecure_skip_verify: true}}}}}}
  tls_12: {{prober: tcp, timeout: 10s, tcp: {{tls: true, tls_config: {{ca_file: {ca}, max_version: TLS12}}}}}}
  tls_13: {{prober: tcp, timeout: 10s, tcp: {{tls: true, tls_config: {{ca_file: {ca}, min_version: TLS13}}}}}}
  tls_client: {{prober: tcp, timeout: 10s, tcp: {{tls: true, tls_config: {{ca_file: {ca}, cert_file: {client}.pem, key_file: {client}.key}}}}}}
  http_client: {{prober: http, timeout: 10s, http: {{enable_http2: false, tls_config: {{ca_file: {ca}, cert_file: {client}.pem, key_file: {client}.key}}}}}}
  connect: {{prober: tcp, timeout: 10s}}
  quick: {{prober: tcp, timeout: 300ms, tcp: {{query_response: [{{expect: never}}]}}}}
  smtp_starttls:
    prober: tcp
    timeout: 10s
    tcp:
      preferred_ip_protocol: ip4
      query_response:
        - expect: "^220 ([^ ]+) ESMTP (.+)$"
        - send: "EHLO prober\\r"
        - expect: "^250-STARTTLS"
        - send: "STARTTLS\\r"
        - expect: "^220"
        - starttls: true
        - send: "EHLO prober\\r"
        - expect: "^250[- ]SMTPUTF8"
        - send: "QUIT\\r"
      tls_config: {{ca_file: {ca}, server_name: {name}}}
  smtp_wrong: {{prober: tcp, timeout: 10s, tcp: {{query_response: [{{expect: "^220"}}, {{send: "QUIT\\r"}}, {{expect: "^999"}}]}}}}
  pop_over_tls: {{prober: tcp, timeout: 10s, tcp: {{tls: true, tls_config: {{ca_file: {ca}}}, query_response: [{{send: "GET / HTTP/1.0\\r\\n\\r"}}, {{expect: "^HTTP/1.1 (2)00"}}]}}}}
  http_2xx: {{prober: http, timeout: 10s, http: {{preferred_ip_protocol: ip4, enable_http2: false, tls_config: {{ca_file: {ca}}}}}}}
  http_stay: {{prober: http, timeout: 10s, http: {{follow_redirects: false, valid_status_codes: [301], enable_http2: false}}}}
  http_post: {{prober: http, timeout: 10s, http: {{method: POST, body: "x=1", enable_http2: false}}}}
  http_named: {{prober: http, timeout: 10s, http: {{headers: {{Host: {name}}}, enable_http2: false, tls_config: {{ca_file: {ca}}}}}}}
  http_auth: {{prober: http, timeout: 10s, http: {{basic_auth: {{username: alice, password: sesame}}, enable_http2: false}}}}
  http_tls_wanted: {{prober: http, timeout: 10s, http: {{fail_if_not_ssl: true, enable_http2: false}}}}
  http_tls_unwanted: {{prober: http, timeout: 10s, http: {{fail_if_ssl: true, enable_http2: false, tls_config: {{ca_file: {ca}}}}}}}
  http_body: {{prober: http, timeout: 10s, http: {{fail_if_body_not_matches_regexp: ["o[kl]"], enable_http2: false}}}}
  http_not_body: {{prober: http, timeout: 10s, http: {{fail_if_body_matches_regexp: ["ok"], enable_http2: false}}}}
  http_header: {{prober: http, timeout: 10s, http: {{fail_if_header_not_matches: [{{header: X-Version, regexp: "^7"}}], enable_http2: false}}}}
  http_version: {{prober: http, timeout: 10s, http: {{valid_http_versions: ["HTTP/2.0"], enable_http2: false}}}}
"""

#: Of these the values are how long something took.
TIMES = {
    "probe_dns_lookup_time_seconds",
    "probe_duration_seconds",
    "probe_http_duration_seconds",
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    ours: int
    theirs: int
    targets: dict[str, str]
    log: Path

    def ask(
        self, port: int, module: str, target: str
    ) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        query = urllib.parse.urlencode({"module": module, "target": self.targets.get(target, target)})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/probe?{query}", timeout=20) as answer:
            text = answer.read().decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parse(text)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("dropin")
    (folder / "ca.pem").write_bytes(ROOT.pem)
    modules = folder / "blackbox.yml"
    (folder / "client.pem").write_bytes(CLIENT.chain_pem)
    (folder / "client.key").write_bytes(CLIENT.key_pem)
    modules.write_text(MODULES.format(ca=folder / "ca.pem", name=NAME, client=folder / "client"))
    servers = [
        NginxServer(chain_pem=GOOD.chain_pem, key_pem=GOOD.key_pem, directives=HTTP),
        NginxServer(chain_pem=EXPIRED.chain_pem, key_pem=EXPIRED.key_pem),
        NginxServer(chain_pem=GOOD.chain_pem + CROSS.pem, key_pem=GOOD.key_pem),
        NginxServer(
            chain_pem=GOOD.chain_pem,
            key_pem=GOOD.key_pem,
            directives="ssl_protocols TLSv1.2; ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate ca.pem;",
            files={"ca.pem": ROOT.pem},
        ),
    ]
    plain = free_port()
    http = f"server {{ listen 127.0.0.1:{plain}; location / {{ return 200 'ok\\n'; }} {HTTP} }}"
    with ExitStack() as stack:
        web = stack.enter_context(nginx(folder, servers, http=http))
        mail = stack.enter_context(postfix(chain_pem=GOOD.chain_pem, key_pem=GOOD.key_pem))
        theirs = stack.enter_context(blackbox_by(modules))
        home = folder / "certwatch"
        home.mkdir()
        port = free_port()
        config = home / "own.yaml"
        config.write_text(
            f"inventory: sqlite://{home}/inventory.db\ntrust: {{}}\ncollectors: []\n"
            f"exporters: [{{kind: prometheus, listen: '127.0.0.1:{port}', probe: {modules}}}]\n"
        )

        stack.enter_context(
            running([*COMMAND, "-c", config], ready=lambda: accepts(port), log=home / "log", seconds=60)
        )
        wait_until(lambda: _answers(port), what="/probe", seconds=60)
        yield Stage(
            ours=port,
            theirs=theirs.port,
            log=home / "log",
            targets={
                "good": f"127.0.0.1:{web.ports[0]}",
                "expired": f"127.0.0.1:{web.ports[1]}",
                "crossed": f"127.0.0.1:{web.ports[2]}",
                "closing": f"127.0.0.1:{web.ports[3]}",
                "https-closing": f"https://127.0.0.1:{web.ports[3]}/",
                "closed": f"127.0.0.1:{free_port()}",
                "mail": f"127.0.0.1:{mail}",
                "plain": f"127.0.0.1:{plain}",
                "https": f"https://127.0.0.1:{web.ports[0]}/",
                "https-moved": f"https://127.0.0.1:{web.ports[0]}/moved",
                "http": f"http://127.0.0.1:{plain}",
                **{
                    f"http-{path}": f"http://127.0.0.1:{plain}/{path}"
                    for path in ("moved", "loop", "none", "post", "header", "auth", "named")
                },
            },
        )


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/probe?module=connect&target=x", timeout=10):
            return True
    except OSError:
        return False


SAME = [
    ("tls_12", "good"), ("tls_13", "good"), ("tls_13", "closing"), ("tls_client", "good"),
    ("tls_client", "closing"), ("http_client", "https-closing"), ("http_2xx", "https-closing"),
    ("tls", "good"), ("tls_unnamed", "good"), ("tls", "closed"), ("tls", "plain"), ("tls", "mail"),
    ("tls", "no-port"), ("connect", "good"), ("connect", "closed"), ("quick", "plain"),
    ("smtp_starttls", "mail"),  ("smtp_wrong", "mail"), ("pop_over_tls", "good"),
    ("http_2xx", "http"), ("http_2xx", "plain"), ("http_2xx", "https"), ("http_2xx", "http-moved"),
    ("http_2xx", "https-moved"), ("http_2xx", "http-none"), ("http_2xx", "closed"), ("http_2xx", "mail"),
    ("http_2xx", "http-loop"), ("http_stay", "http-moved"), ("http_post", "http-post"), ("http_2xx", "http-post"),
    ("http_named", "http-named"), ("http_2xx", "http-named"), ("http_named", "https"), ("http_auth", "http-auth"),
    ("http_2xx", "http-auth"), ("http_tls_wanted", "http"), ("http_tls_unwanted", "https"),
    ("http_tls_unwanted", "http"), ("http_body", "http"), ("http_body", "http-header"), ("http_not_body", "http"),
    ("http_header", "http-header"), ("http_header", "http"), ("http_version", "http"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "target"), SAME)
def test_it_answers_what_blackbox_exporter_answers(stage: Stage, module: str, target: str) -> None:
    theirs, ours = stage.ask(stage.theirs, module, target), stage.ask(stage.ours, module, target)
    names = {name for name, _ in ours}
    for (name, labels), value in theirs.items():
        if name == "probe_ssl_last_chain_info":
            # An older one says no serial number.
            shown = next((dict(found) for each, found in ours if each == name), {})
            assert dict(labels).items() <= shown.items()
        elif name in TIMES:
            assert (name, labels) in ours
        else:
            assert ours.get((name, labels)) == value, (name, labels, value, ours)
    # What is beyond it was brought by later ones.
    assert names - {name for name, _ in theirs} <= {
        "probe_failed_due_to_bytes",
        "probe_timeout_seconds",
        "probe_tls_cipher_info",
    }


def test_an_expired_certificate_stays_visible_where_blackbox_exporter_shows_nothing(stage: Stage) -> None:
    theirs, ours = stage.ask(stage.theirs, "tls", "expired"), stage.ask(stage.ours, "tls", "expired")
    assert theirs[("probe_success", ())] == ours[("probe_success", ())] == 0
    assert not any(name.startswith("probe_ssl") for name, _ in theirs)
    assert ours[("probe_ssl_earliest_cert_expiry", ())] == int((EPOCH + timedelta(days=2)).timestamp())
    assert ("probe_ssl_last_chain_expiry_timestamp_seconds", ()) not in ours


def test_a_chain_that_is_not_verified_has_no_end_in_the_year_one(stage: Stage) -> None:
    name = ("probe_ssl_last_chain_expiry_timestamp_seconds", ())
    assert stage.ask(stage.theirs, "tls_any", "good")[name] < 0
    assert name not in stage.ask(stage.ours, "tls_any", "good")


def test_a_cross_signed_member_that_nobody_needs_raises_no_alarm(stage: Stage) -> None:
    theirs, ours = stage.ask(stage.theirs, "tls", "crossed"), stage.ask(stage.ours, "tls", "crossed")
    earliest, last = (
        ("probe_ssl_earliest_cert_expiry", ()),
        ("probe_ssl_last_chain_expiry_timestamp_seconds", ()),
    )
    assert theirs[("probe_success", ())] == ours[("probe_success", ())] == 1
    # The end of the superfluous one, which is long past: a false alarm.
    assert theirs[earliest] == int((EPOCH + timedelta(days=1)).timestamp())
    assert ours[earliest] == int((EPOCH + timedelta(days=60)).timestamp())
    assert ours[last] == theirs[last] == ours[earliest]


def test_ssl_exporters_file_is_probed_by_with_its_metrics(stage: Stage, tmp_path: Path) -> None:
    # Facts of ssl_exporter's shipped file: https and tcp imply TLS, whose keys stand with the module.
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    named = f"tls_config: {{ca_file: {tmp_path}/ca.pem, server_name: {NAME}}}"
    (tmp_path / "ssl.yml").write_text(
        f"default_module: https\nmodules:\n  https: {{prober: https, {named}}}\n  tcp: {{prober: tcp, {named}}}\n"
        f"  mail: {{prober: tcp, {named}, tcp: {{starttls: smtp}}}}\n  file: {{prober: file}}\n"
    )
    port = free_port()
    config = tmp_path / "own.yaml"
    config.write_text(
        f"inventory: sqlite://{tmp_path}/inventory.db\ntrust: {{}}\ncollectors: []\n"
        f"exporters: [{{kind: prometheus, listen: '127.0.0.1:{port}', probe: {tmp_path}/ssl.yml, ssl_metrics: true}}]\n"
    )

    def ready() -> bool:
        try:
            stage.ask(port, "tcp", "x")
        except OSError:
            return False
        return True

    leaf = {
        "cn": NAME,
        "issuer_cn": "Intermediate",
        "ips": ",127.0.0.1,",
        "dnsnames": f",{NAME},example.com,",
    }
    with running([*COMMAND, "-c", config], ready=ready, log=tmp_path / "log", seconds=60):
        for module, target in (("https", "good"), ("", "https"), ("tcp", "good"), ("mail", "mail")):
            found = stage.ask(port, module, target)
            assert found[("ssl_probe_success", ())] == 1, module
            assert found[("ssl_tls_version_info", (("version", "TLS 1.3"),))] == 1
            assert found[("ssl_ocsp_response_stapled", ())] == 0
            assert not any(name == "ssl_ocsp_response_status" for name, _ in found)
            ends = [
                (dict(labels), value)
                for (name, labels), value in found.items()
                if name == "ssl_cert_not_after"
            ]
            assert len(ends) == 2
            assert any(leaf.items() <= labels.items() and value == _end() for labels, value in ends)
            paths = [dict(labels) for name, labels in found if name == "ssl_verified_cert_not_after"]
            assert sorted(each["cn"] for each in paths) == ["Intermediate", "Root", NAME]
            assert {each["chain_no"] for each in paths} == {"0"}
        assert stage.ask(port, "tcp", "plain")[("ssl_probe_success", ())] == 0


def _end() -> int:
    return int((EPOCH + timedelta(days=60)).timestamp())


#: What dashboards and alerts made for blackbox_exporter ask.
QUERIES = [
    "probe_success == 0",
    "probe_success",
    "avg by (instance) (probe_success) * 100",
    "probe_http_status_code",
    "probe_http_status_code <= 199 or probe_http_status_code >= 400",
    "probe_http_ssl",
    "probe_http_version",
    "probe_tls_version_info",
    "probe_ip_protocol",
    "min by (instance) (probe_ssl_earliest_cert_expiry) - 1790000000",
    "(probe_ssl_earliest_cert_expiry - time()) / 86400 < 90",
    "probe_ssl_earliest_cert_expiry - time() < 86400 * 30",
    "probe_ssl_last_chain_expiry_timestamp_seconds - time() < 86400 * 90",
    "count by (instance) (probe_http_duration_seconds)",
    "probe_duration_seconds > bool 20",
    "sum by (instance) (probe_http_duration_seconds) > bool 20",
    "probe_failed_due_to_regex",
    "count(probe_success == 1)",
]  # fmt: skip


def test_dashboards_and_alerts_find_the_same_through_prometheus(stage: Stage, tmp_path: Path) -> None:
    probed = [
        ("tls", [stage.targets["good"], stage.targets["closed"], stage.targets["plain"]]),
        ("http_2xx", [stage.targets[each] for each in ("http", "https", "http-none", "http-moved")]),
        ("smtp_starttls", [stage.targets["mail"]]),
    ]
    jobs = [
        {
            "job_name": f"{who}-{module}",
            "metrics_path": "/probe",
            "scrape_interval": "4s",
            "scrape_timeout": "4s",
            "params": {"module": [module]},
            "static_configs": [{"targets": targets}],
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"source_labels": ["__param_target"], "target_label": "instance"},
                {"target_label": "__address__", "replacement": f"127.0.0.1:{port}"},
                {"target_label": "who", "replacement": who},
                {"target_label": "job", "replacement": "probes"},
            ],
        }
        for who, port in (("ours", stage.ours), ("theirs", stage.theirs))
        for module, targets in probed
    ]
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))
    port = free_port()
    command = [
        program("prometheus", "prometheus"),
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def found(query: str, at: float) -> dict[str, dict[str, str]]:
        """By who was asked: series (without their names) and values."""
        asked = urllib.parse.urlencode({"query": query, "time": at})
        result: dict[str, dict[str, str]] = {"ours": {}, "theirs": {}}
        for series in get_json(f"http://127.0.0.1:{port}/api/v1/query?{asked}")["data"]["result"]:
            labels = dict(series["metric"])
            who = labels.pop("who")
            result[who][json.dumps(labels, sort_keys=True)] = series["value"][1]
        return result

    def answers(query: str, at: float) -> dict[str, dict[str, str]]:
        """Each by itself, as on a dashboard that is for one of them."""
        both = {}
        for who in ("ours", "theirs"):
            mine = re.sub(r"(probe_\w+)", rf'\1{{who="{who}"}}', query)
            mine = re.sub(r"\bby \(([^)]*)\)", r"by (\1, who)", mine)
            mine = mine if "count(" not in mine else mine.replace("count(", "count by (who) (")
            both[who] = found(mine, at)[who]
        return both

    different: dict[str, object] = {}

    def same() -> bool:
        """Every target is scraped by both, and every query finds the same, at one instant. A probe that was too slow once,
        on a busy machine, is another one's next time."""
        different.clear()
        at = time.time()
        try:
            counts = found("count by (who) (probe_success)", at)
            for query in QUERIES:
                both = answers(query, at)
                if both["ours"] != both["theirs"] or not (both["theirs"] or "<" in query):
                    different[query] = both
        except (OSError, KeyError):
            return False
        return all(list(each.values()) == ["8"] for each in counts.values()) and not different

    with running(command, ready=lambda: accepts(port), log=tmp_path / "log", seconds=40):
        try:
            wait_until(same, what="the same answers to every query", seconds=90)
        except TimeoutError as error:
            raise AssertionError(different) from error
