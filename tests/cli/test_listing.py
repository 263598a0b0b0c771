"""`list`, `show`, `findings`, `export`: what is asked for, and what is refused."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory
from certwatch.x509.der import fingerprint
from tests.cli.stage import FILE_AT, NEXT, OLD, PAY, PAY_AT, ROOT, WEB_AT, Ran, fill, later, run, write_config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("inventory")
    fill(folder)
    yield write_config(folder)


def ask(config: Path, *args: str) -> Ran:
    return run("-c", config, *args, clock=later())


def subjects(config: Path, *args: str) -> list[str]:
    ran = ask(config, "list", "--json", *args)
    assert ran.status == 0, ran.err
    return [each["subject"].removeprefix("CN=") for each in json.loads(ran.out)["certificates"]]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["*.example.com"], ["www.example.com", "pay.example.com", "www.example.com"]),
        (["--expired"], ["old.example.net"]),
        (["--expiring-in", "90d"], ["www.example.com", "pay.example.com"]),
        (["--owner", "payments"], ["pay.example.com"]),
        (["--collector", "hosts"], ["old.example.net"]),
        (["--issuer", "test root", "--limit", "1"], ["old.example.net"]),
        (["--sort", "not_after", "--reverse", "--limit", "1"], ["Test Root"]),
        (["--where", 'cert.key.type == "rsa"'], ["pay.example.com"]),
        (["--where", 'location.labels.environment == "prod"'], ["old.example.net"]),
        (["--where", 'location.error == "timeout"'], ["pay.example.com"]),
        (["--where", "cert.is_ca && cert.is_self_issued"], ["Test Root"]),
        (["--where", 'cert.not_after < now + duration("1h")'], ["old.example.net"]),
        (["--where", 'location.owner == "web" && !cert.is_ca', "--limit", "1"], ["www.example.com"]),
        (["--at", "2026-10-01"], []),
        ([WEB_AT], ["www.example.com", "www.example.com", "Test Root"]),
    ],
)
def test_a_list_has_what_was_asked_for(config: Path, args: list[str], expected: list[str]) -> None:
    assert subjects(config, *args) == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["list", "--where", "cret.is_ca"], '--where: unknown name "cret", did you mean "cert"?'),
        (["list", "--expiring-in", "soon"], "not a duration: 'soon'"),
        (["list", "--expiring-in", "9d", "--expired"], "choose one"),
        (["list", "--json", "--csv"], "choose one"),
        (["list", "--at", "yesterday"], "'yesterday' is not a time. Write 2026-11-01"),
        (["list", "--at", "0001-01-01T00:00:00+14:00"], "is not a time. Write 2026-11-01"),
        (["list", "--expiring-in", "99999999w"], "too long a duration: at most 36500d"),
        (["list", "--limit", "99999999999999999999"], "is not in the range 1<=x<="),
        (["findings", "--limit", "99999999999999999999"], "is not in the range 1<=x<="),
        (["list", "--sort", "colour"], "'colour' is not one of"),
        (["list", "--limit", "0"], "0 is not in the range 1<=x<="),
        (["findings", "--severity", "bad"], "'bad' is not one of"),
        (["export", "--format", "cyclonedx"], "'cyclonedx' is not one of"),
        (["rules", "explain", "expiri"], 'unknown rule "expiri", did you mean "expiry"?'),
    ],
)
def test_a_question_that_makes_no_sense_is_a_usage_error(config: Path, args: list[str], message: str) -> None:
    ran = ask(config, *args)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


def test_nothing_found_is_said_beside_the_data(config: Path, tmp_path: Path) -> None:
    ran = ask(config, "list", "nowhere.example.org")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == "certwatch: no certificate of the inventory matches\n"
    assert json.loads(ask(config, "list", "nowhere.example.org", "--json").out) == {"certificates": []}
    open_inventory(f"sqlite://{tmp_path}/inventory.db")
    empty = write_config(tmp_path)
    assert "the inventory is empty" in ask(empty, "list").err
    assert ask(empty, "findings").err == "certwatch: nothing is wrong\n"


def test_findings_are_narrowed_and_tell_whether_to_act(config: Path) -> None:
    def rules(*args: str) -> tuple[int, list[str]]:
        ran = ask(config, "findings", "--json", *args)
        return ran.status, [each["rule"] for each in json.loads(ran.out)["findings"]]

    assert rules() == (1, ["expiry", "weak-key", "unreachable"])
    assert rules("--severity", "info") == (0, ["unreachable"])
    assert rules("--owner", "payments") == (1, ["weak-key", "unreachable"])
    assert rules("--rule", "weak-key") == (1, ["weak-key"])
    assert rules("--limit", "1") == (1, ["expiry"])


def test_a_path_shows_the_file_there(config: Path) -> None:
    ran = ask(config, "show", "/etc/ssl/old.pem", "--json")
    assert ran.status == 1
    shown = json.loads(ran.out)
    assert shown["location"] == FILE_AT
    assert shown["chain"][0]["fingerprint_sha256"] == fingerprint(OLD.der).hex()
    assert shown["labels"] == {"environment": "prod"}


def test_a_failing_location_shows_what_it_served_last(config: Path) -> None:
    shown = json.loads(ask(config, "show", PAY_AT, "--json").out)
    assert shown["error"] == {"kind": "timeout", "message": "192.0.2.2:443: no answer within 10 s"}
    assert shown["chain"][0]["fingerprint_sha256"] == fingerprint(PAY.der).hex()
    assert shown["last_served"] < shown["last_seen"]


@pytest.mark.parametrize("id", ["ffffffff", "99", "tls://192.0.2.9:443/", "/nowhere", "what is this"])
def test_what_is_not_there_cannot_be_shown(config: Path, id: str) -> None:
    ran = ask(config, "show", id)
    assert (ran.status, ran.out) == (3, "")
    assert "certwatch list" in ran.err or "certwatch findings" in ran.err


def test_other_programs_get_pem(config: Path) -> None:
    """For openssl ocsp at three in the morning: the certificate, or what a location presented."""
    ran = ask(config, "show", fingerprint(PAY.der).hex()[:10], "--pem")
    assert (ran.status, ran.out.encode()) == (0, PAY.pem)
    ran = ask(config, "show", WEB_AT, "--pem")
    assert (ran.status, ran.out.encode()) == (0, NEXT.pem + ROOT.pem)
    assert ask(config, "show", WEB_AT, "--pem", "--json").status == 2
    assert ask(config, "show", "what is this", "--pem").status == 2


def test_an_export_has_a_row_for_each_place(config: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(ask(config, "export", "--format", "csv").out)))
    assert [(row["subject"], row["location"], row["ended_at"] != "") for row in rows] == [
        ("CN=old.example.net", FILE_AT, False),
        ("CN=www.example.com", WEB_AT, True),
        ("CN=pay.example.com", PAY_AT, False),
        ("CN=www.example.com", WEB_AT, False),
        ("CN=Test Root", WEB_AT, False),
    ]
    listed = json.loads(ask(config, "export", "--format", "json").out)
    assert listed == json.loads(ask(config, "list", "--json").out)


def test_a_missing_inventory_is_named(tmp_path: Path) -> None:
    ran = run("-c", write_config(tmp_path), "list")
    assert ran.status == 3
    assert f"{tmp_path}/inventory.db" in ran.err
    assert not (tmp_path / "inventory.db").exists()


def test_a_broken_part_of_the_config_does_not_keep_the_inventory_from_being_read(tmp_path: Path) -> None:
    fill(tmp_path)
    assert run("-c", write_config(tmp_path, "collectors: nonsense\n"), "list").status == 0
    assert run("-c", write_config(tmp_path, "a: ["), "list").status == 2
