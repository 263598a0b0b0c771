"""What ACME clients write, by the formats of their sources: acme.sh and Traefik are not to be had as packages; the others'
own files are in the integration tests."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_ca, make_certificate
from collectors.ca_database import CADatabaseCollector
from collectors.ca_database.acme import acme_sh, caddy, certbot, traefik
from collectors.ca_database.record import ReadFailed

ROOT = make_ca()
INTERMEDIATE = make_ca("Issuing CA", issuer=ROOT, key_number=201)


def issued(name: str) -> Issued:
    return make_certificate(issuer=INTERMEDIATE, names=(f"dns:{name}",))


def chain(name: str) -> bytes:
    return issued(name).pem + INTERMEDIATE.pem


def looks(preset: str, path: Path) -> dict[str, Observation]:
    """By the client's own name for it."""
    config = CADatabaseCollector.Config.model_validate({"preset": preset, "path": str(path)})
    collector = CADatabaseCollector("web", config, CollectorContext(clock=FakeClock()))
    return {
        each.location.removeprefix("acme://web/"): each
        for each in collector._looks()
        if isinstance(each, Observation) and each.location.startswith("acme:")
    }


# acme.sh

SETTINGS = """Le_Domain='www.example.com'
Le_Alt='no'
Le_Webroot='dns_cf'
Le_PreHook=''
Le_API='https://acme-v02.api.letsencrypt.org/directory'
Le_Keylength='ec-256'
Le_LinkCert='https://acme-v02.api.letsencrypt.org/acme/cert/04'
Le_CertCreateTime='1790000000'
Le_CertCreateTimeStr='2026-09-21T14:13:20Z'
Le_NextRenewTimeStr='2026-11-20T14:13:20Z'
Le_NextRenewTime='1795184000'
Le_RealFullChainPath='/etc/nginx/www.pem'
Le_ReloadCmd='__ACME_BASE64__START_c3lzdGVtY3RsIHJlbG9hZCBuZ2lueA==__ACME_BASE64__END_'
"""


def acme_sh_folder(folder: Path) -> Path:
    for name, domain in (("www.example.com_ecc", "www.example.com"), ("*.example.net", "*.example.net")):
        (folder / name).mkdir(parents=True)
        (folder / name / "fullchain.cer").write_bytes(chain(domain))
        (folder / name / f"{domain}.conf").write_text(SETTINGS)
    (folder / "dnsapi").mkdir()
    (folder / "account.conf").write_text("UPGRADE_HASH='x'\n")
    return folder


def test_acme_sh_says_what_it_keeps_up_and_when_it_means_to_renew(tmp_path: Path) -> None:
    found = looks("acme.sh", acme_sh_folder(tmp_path))
    assert set(found) == {"www.example.com_ecc", "%2A.example.net"}
    place = found["www.example.com_ecc"]
    assert place.chain == (issued("www.example.com").der, INTERMEDIATE.der) or len(place.chain) == 2
    assert place.facts == {
        "renewal_client": "acme.sh",
        "renewal_hook": True,
        "renewal_due_at": "2026-11-20T14:13:20Z",
        "renewal_server": "https://acme-v02.api.letsencrypt.org/directory",
    }


def test_what_acme_sh_was_told_to_remove_is_not_renewed(tmp_path: Path) -> None:
    folder = acme_sh_folder(tmp_path) / "www.example.com_ecc"
    (folder / "www.example.com.conf").rename(folder / "www.example.com.conf.removed")
    place = looks("acme.sh", tmp_path)["www.example.com_ecc"]
    assert (place.facts["renewal_off"], len(place.chain)) == (True, 2)


def test_settings_without_a_certificate_are_told_as_an_error_of_that_one_alone(tmp_path: Path) -> None:
    (acme_sh_folder(tmp_path) / "www.example.com_ecc" / "fullchain.cer").unlink()
    found = looks("acme.sh", tmp_path)
    error = found["www.example.com_ecc"].error
    assert error is not None
    assert (error.kind, "no certificate" in error.message) == ("not-found", True)
    assert found["%2A.example.net"].error is None


# Traefik


def entry(main: str, *sans: str) -> dict[str, Any]:
    return {
        "domain": {"main": main, **({"sans": list(sans)} if sans else {})},
        "certificate": base64.b64encode(chain(main)).decode(),
        "key": base64.b64encode(b"never decoded").decode(),
        "Store": "default",
    }


def acme_json(folder: Path, content: object) -> Path:
    path = folder / "acme.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_resolver_of_traefik_is_read(tmp_path: Path) -> None:
    path = acme_json(
        tmp_path,
        {
            "letsencrypt": {
                "Account": {"Email": "x"},
                "Certificates": [entry("a.example"), entry("b.example")],
            },
            "empty": {"Account": None, "Certificates": None},
            "never": None,
        },
    )
    found = looks("traefik", path)
    assert set(found) == {"letsencrypt/a.example", "letsencrypt/b.example"}
    assert len(found["letsencrypt/a.example"].chain) == 2
    assert found["letsencrypt/a.example"].facts == {"renewal_client": "traefik"}


def test_two_certificates_with_one_main_name_are_two_places(tmp_path: Path) -> None:
    path = acme_json(
        tmp_path, {"le": {"Certificates": [entry("a.example"), entry("a.example", "b.example")]}}
    )
    assert len(looks("traefik", path)) == 2


def test_the_file_of_traefik_1_is_read_and_an_empty_one_has_nothing(tmp_path: Path) -> None:
    body = base64.b64encode(chain("a.example")).decode()
    old = {
        "Account": {"Email": "x"},
        "Certificates": [{"Domain": {"Main": "a.example", "SANs": None}, "Certificate": body, "Key": "eA=="}],
        "HTTPChallenges": {},
    }
    assert set(looks("traefik", acme_json(tmp_path, old))) == {"a.example"}
    assert looks("traefik", acme_json(tmp_path, "")) == {}
    assert looks("traefik", acme_json(tmp_path, "{}")) == {}


def test_a_broken_certificate_of_traefik_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    broken = {**entry("b.example"), "certificate": "%%%"}
    found = looks("traefik", acme_json(tmp_path, {"le": {"Certificates": [entry("a.example"), broken]}}))
    error = found["le/b.example"].error
    assert error is not None
    assert "no base64" in error.message
    assert found["le/a.example"].error is None


# Caddy


def test_the_instant_that_caddy_has_chosen_to_renew_is_read() -> None:
    resource = {
        "sans": ["a.example"],
        "issuer_data": {
            "ca": "https://acme.example/directory",
            "url": "https://acme.example/cert/1",
            "renewal_info": {
                "suggestedWindow": {"start": "2026-12-01T00:00:00Z", "end": "2026-12-02T00:00:00Z"},
                "_selectedTime": "2026-12-01T10:11:12Z",
            },
        },
    }
    assert caddy.facts_of(json.dumps(resource).encode()) == {
        "renewal_server": "https://acme.example/directory",
        "renewal_due_at": "2026-12-01T10:11:12Z",
    }
    assert caddy.facts_of(b'{"issuer_data": null}') == caddy.facts_of(b'{"issuer_data": [1]}') == {}
    never = {"issuer_data": {"renewal_info": {"_selectedTime": "0001-01-01T00:00:00Z"}}}
    assert caddy.facts_of(json.dumps(never).encode()) == {}


# certbot


def test_settings_of_certbot_are_read_wherever_they_stand() -> None:
    said = certbot.parse(
        "# renew_before_expiry = 30 days\nversion = 2.1.0\nrenew_before_expiry = 20 days\n"
        "[renewalparams]\nautorenew = False\nserver = https://acme.example/dir\ninstaller = nginx\n"
        "[[webroot_map]]\nserver = nothing\n[acme_renewal_info]\nautorenew = True\n"
    )
    assert certbot.facts_of(said) == {
        "renewal_off": True,
        "renewal_days_before": 20,
        "renewal_server": "https://acme.example/dir",
        "renewal_hook": True,
    }


# All of them


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("certbot", "Name certbot's --config-dir"),
        ("acme.sh", "Name acme.sh's --cert-home"),
        ("lego", "Name lego's --path"),
        ("caddy", "Name Caddy's data folder"),
        ("traefik", "Name Traefik's acme.json"),
    ],
)
def test_a_path_that_is_not_there_is_told_with_what_to_name(
    tmp_path: Path, preset: str, message: str
) -> None:
    with pytest.raises(ReadFailed, match=message) as failed:
        looks(preset, tmp_path / "nowhere")
    assert failed.value.kind == "not-found"


def test_what_is_no_acme_json_is_told(tmp_path: Path) -> None:
    for content in ("[]", "{", '{"a": {"Certificates": {}}}', "[" * 100_000):
        with pytest.raises(ReadFailed, match=r"is no acme\.json"):
            looks("traefik", acme_json(tmp_path, content))


def test_a_pipe_in_place_of_a_certificate_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    os.mkfifo(tmp_path / "certificates" / "a.example.crt")
    error = looks("lego", tmp_path)["a.example"].error
    assert error is not None
    assert "is no file" in error.message


def test_a_lineage_stays_however_long_its_certificate_has_ended(tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    ended = make_certificate(not_before=EPOCH.replace(year=2020), not_after=EPOCH.replace(year=2021))
    (tmp_path / "certificates" / "a.example.crt").write_bytes(ended.pem)
    assert looks("lego", tmp_path)["a.example"].chain == (ended.der,)
    assert LocationURI("acme://web/a.example") == looks("lego", tmp_path)["a.example"].location


@settings(max_examples=200)
@given(st.text(max_size=300))
def test_no_settings_break_the_reading(text: str) -> None:
    certbot.facts_of(certbot.parse(text))
    acme_sh.facts_of(acme_sh.parse(text))
    acme_sh.facts_of({"Le_NextRenewTime": text})
    caddy.facts_of(text.encode("utf-8", "surrogatepass"))
    try:
        traefik.parse(text.encode("utf-8", "surrogatepass"), "acme.json")
    except ReadFailed:
        pass


# Folders and files as nobody should have them.


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Links that lead in a circle, names that are no UTF-8."""
    for folder in ("renewal", "live", "certificates"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "circle").symlink_to("circle")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "certificates/circle.crt").symlink_to("circle.crt")
    root = os.fsencode(tmp_path)
    for made in (b"\xff", b"certificates/acme/\xff"):
        os.makedirs(root + b"/" + made)
    for made in (
        b"renewal/\xff.conf",
        b"\xff/\xff.conf",
        b"certificates/\xff.crt",
        b"certificates/acme/\xff/\xff.json",
    ):
        os.close(os.open(root + b"/" + made, os.O_CREAT))
    return tmp_path


@pytest.mark.parametrize(
    ("preset", "named"),
    [
        ("certbot", ["%5Cxff"]),
        ("acme.sh", ["%5Cxff"]),
        ("lego", ["%5Cxff", "circle"]),
        ("caddy", ["acme/%5Cxff"]),
    ],
)
def test_links_in_a_circle_and_names_of_any_bytes_end_no_reading(
    strange: Path, preset: str, named: list[str]
) -> None:
    found = looks(preset, strange)
    assert sorted(found) == named
    assert all(each.error is not None for each in found.values())


def test_a_path_in_the_settings_that_is_none_is_told_of_that_one_alone(tmp_path: Path) -> None:
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal/a.conf").write_text("fullchain = /etc/\0/x.pem\n")
    (tmp_path / "renewal/b.conf").write_text("fullchain = /dev/zero\n")
    found = looks("certbot", tmp_path)
    assert [(name, each.error and each.error.kind) for name, each in sorted(found.items())] == [
        ("a", "malformed"),
        ("b", "malformed"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b'{"\xff": {}}',
        b"[" * 100_000,
        b'{"r": {"Certificates": ' + b"[" * 100_000,
        b'{"r": {"Certificates": [1]}}',
    ],
)
def test_json_of_any_bytes_and_depth_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "acme.json"
    path.write_bytes(data)
    with pytest.raises(ReadFailed, match=r"is no acme\.json"):
        looks("traefik", path)


def test_a_name_of_any_length_becomes_a_place_of_some_length(tmp_path: Path) -> None:
    path = tmp_path / "acme.json"
    body = base64.b64encode(chain("www.example.com")).decode()
    path.write_text(
        json.dumps(
            {
                "r": {
                    "Certificates": [
                        {"domain": {"main": each * 100_000}, "certificate": body} for each in "ab"
                    ]
                }
            }
        )
    )
    found = looks("traefik", path)
    assert len(found) == 2
    assert all(len(each) < 600 for each in found)
