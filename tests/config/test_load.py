"""A config file: what it says, and what is said of a bad one, to the letter."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwatch.config import defaults
from certwatch.config.find import MAX_BYTES
from certwatch.config.inventory_url import inventory_url
from certwatch.config.load import ConfigError, load, read
from certwatch.config.settings import Config

DATA = Path(__file__).parent.parent / "data/config"
#: What ${…} in the test files says.
ENV = {"HOME": "/home/user", "SECRET": "s3cr3t value", "DATABASE": "mysql://root:hunter2@db"}


#: Messages that list what is installed, which grows.
_INSTALLED = re.compile(r"(unknown (?:rule|collector kind|exporter kind)\b.*)\(known: [^)\n]*\)?")


def mistakes(text: str, env: Mapping[str, str] = ENV) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text, env=env, path=Path("certwatch.yaml"))
    return list(raised.value.messages)


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("bad/*.yaml")))
def test_a_bad_file_is_told_all_its_mistakes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew the expected messages with CERTWATCH_RENEW=1, and read the difference."""
    monkeypatch.chdir(DATA / "bad")
    with pytest.raises(ConfigError) as raised:
        load(Path(f"{name}.yaml"), env=ENV)
    said = _INSTALLED.sub(r"\1(known: …)", str(raised.value) + "\n")
    expected = DATA / f"bad/{name}.err"
    if os.environ.get("CERTWATCH_RENEW"):
        expected.write_text(said)
    assert said == expected.read_text()
    assert all(message.startswith(f"{name}.yaml") for message in raised.value.messages)
    assert "hunter2" not in said
    assert "s3cr3t" not in said
    assert said.isascii() or said.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("good/*.yaml")))
def test_a_good_file_loads(name: str) -> None:
    config = load(DATA / "good" / name, env=ENV)
    assert config.path == DATA / "good" / name


def test_the_example_of_the_documentation_says_what_it_says() -> None:
    config = load(DATA / "good/design.yaml", env=ENV)
    assert config.inventory == "sqlite:///var/lib/certwatch/inventory.db"
    assert config.trust == {"public": ("system",), "corp": ("/etc/ssl/corp-root.pem",)}
    edge, hosts = config.collectors
    assert (edge.name, edge.kind, edge.every) == ("edge", "tls", timedelta(minutes=15))
    assert edge.labels["environment"] == "prod"
    assert edge.config.model_dump()["targets"][1] == "10.20.0.0/24:443,8443"
    assert (hosts.kind, hosts.every) == ("file", timedelta(hours=1))
    (owner,) = config.owners
    assert (owner.team, owner.page) == ("payments", "payments-oncall")
    assert getattr(config.rules.configured["expiry"], "page", None) == timedelta(hours=48)
    assert config.rules.off == {"weak-key"}
    assert [rule.id for rule in config.rules.custom] == ["no-rsa-in-prod"]
    assert config.ca is not None
    assert config.ca.directory == "/var/lib/certwatch/ca"


def test_values_are_read_as_they_look() -> None:
    config = load(DATA / "good/merge-and-alias.yaml", env=ENV)
    edge, other = config.collectors
    assert edge.labels == {
        "environment": "prod",
        "country": "no",
        "version": "1.10",
        "since": "2026-01-01",
        "on": "on",
        "mode": "0600",
    }
    assert other.labels == {**edge.labels, "environment": "test"}
    assert other.config == edge.config
    assert config.log.style == "json"


def test_what_is_absent_is_as_in_the_embedded_default() -> None:
    config = read("", env=ENV)
    assert config == read("{}", env=ENV)
    assert [each.kind for each in config.collectors] == ["file", "tls"]
    assert [each.kind for each in config.exporters] == ["prometheus"]
    assert config.trust == {"public": ("system",)}
    assert config.path is None
    assert config.inventory == defaults.inventory(ENV)
    assert config.remarks == ()


def test_what_is_emptied_is_empty() -> None:
    config = load(DATA / "good/bom.yaml", env=ENV)
    assert (config.collectors, config.exporters, config.trust) == ((), (), {})


def test_the_inventory_is_kept_with_the_users_data() -> None:
    assert defaults.data_folder({"HOME": "/home/u"}, uid=1000) == Path("/home/u/.local/share/certwatch")
    assert defaults.data_folder({"HOME": "/root"}, uid=0) == Path("/var/lib/certwatch")
    both = {"HOME": "/root", "XDG_DATA_HOME": "/srv/data"}
    assert defaults.data_folder(both, uid=0) == Path("/srv/data/certwatch")
    with pytest.raises(ConfigError, match="neither HOME nor XDG_DATA_HOME"):
        defaults.data_folder({}, uid=1000)


def test_a_value_may_come_from_the_environment() -> None:
    text = (
        "external_url: ${URL}\ncollectors: [{kind: tls, targets: ['${HOST}:443'], timeout: '${SECONDS}'}]\n"
    )
    config = read(
        text, env={**ENV, "URL": "https://cw.example.com/", "HOST": "a.example.com", "SECONDS": "3"}
    )
    assert config.external_url == "https://cw.example.com"
    assert config.collectors[0].config.model_dump()["targets"] == ["a.example.com:443"]
    assert config.collectors[0].config.model_dump()["timeout"] == 3


def test_a_doubled_dollar_stands_for_itself() -> None:
    config = read("collectors: [{kind: file, paths: ['/srv/$${X}/$Y/*']}]", env=ENV)
    assert config.collectors[0].config.model_dump()["paths"] == ("/srv/${X}/$Y/*",)


def test_a_value_from_the_environment_is_never_repeated() -> None:
    said = mistakes("collectors: [{kind: tls, targets: ['${SECRET}']}]")
    assert said == ["certwatch.yaml:1: collectors[0].targets[0]: is not accepted (its value is not shown)"]


def test_the_address_of_the_inventory_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://certwatch:hunter2@db/certwatch\n")
    config = read(f"inventory_file: {secret}", env=ENV)
    assert config.inventory == "postgresql://certwatch:hunter2@db/certwatch"
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file or directory"), (b"", "is empty"), (b"\xff", "is not UTF-8 text"),
     (b"x" * 70_000, "is larger than 65536 bytes: not a secret")],
)  # fmt: skip
def test_a_secret_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    secret = tmp_path / "url"
    if content is not None:
        secret.write_bytes(content)
    said = mistakes(f"\ninventory_file: {secret}")
    assert said[0] == f"certwatch.yaml:2: inventory_file: {secret} {reason}"


def test_the_config_is_looked_for_where_it_usually_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named, local = tmp_path / "named.yaml", tmp_path / "certwatch.yaml"
    named.write_text("inventory: sqlite:///named")
    local.write_text("inventory: sqlite:///local")
    assert load(env=ENV).inventory == "sqlite:///local"
    assert load(env={**ENV, "CERTWATCH_CONFIG": str(named)}).inventory == "sqlite:///named"
    assert load(named, env={**ENV, "CERTWATCH_CONFIG": "/nonexistent"}).inventory == "sqlite:///named"
    with pytest.raises(ConfigError, match=r"^/nonexistent: there is no such file"):
        load(env={"CERTWATCH_CONFIG": "/nonexistent"})


def test_a_config_that_is_no_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a folder"):
        load(tmp_path, env=ENV)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        load(huge, env=ENV)
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        load(Path("/dev/zero"), env=ENV)


def test_the_address_of_the_inventory_alone_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "certwatch.yaml"
    secret = tmp_path / "secret"
    secret.write_text("sqlite:///from-file.db\n")
    for text in ("inventory: sqlite:///a.db", "{}", "", "inventory: 'sqlite:///${HOME}.db'",
                 f"inventory_file: {secret}"):  # fmt: skip
        path.write_text(text)
        assert inventory_url(path, env=ENV) == load(path, env=ENV).inventory
    for text in ("inventory: [1]", "inventory: ${MISSING}", "a: [", "inventory_file: /nonexistent"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"certwatch\.yaml:1: "):
            inventory_url(path, env=ENV)


#: Pieces of a config, so that what is made of them gets somewhere.
WORDS = st.sampled_from(
    ["collectors", "kind", "tls", "file", "name", "targets", "paths", "every", "15m", "labels", "rules", "expiry",
     "page", "48h", "custom", "id", "when", "cert.is_ca", "owners", "team", "trust", "system", "exporters", "events",
     "path", "inventory", "sqlite:///x", "ca", "log", "level", "retention", "${HOME}", "${NO}", "~", "true", "no",
     "5", "-1", "1e999", "0x10", "<<", "www.example.com:443", "inventory_file", "/nonexistent", "listen"]
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=4)), inner, max_size=4)
    ),
    max_leaves=12,
)


def _flow(value: object) -> str:
    """As YAML's flow style, scalars sometimes bare."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)


def _loads_or_refuses(text: str) -> None:
    try:
        config = read(text, env=ENV, path=Path("certwatch.yaml"))
    except ConfigError as error:
        assert error.messages
        for message in error.messages:
            assert message.startswith("certwatch.yaml")
            assert message.isprintable()
            assert len(message) < 700
    else:
        assert isinstance(config, Config)


@settings(max_examples=150)
@given(st.text(max_size=80))
def test_any_text_loads_or_is_a_config_error(text: str) -> None:
    _loads_or_refuses(text)


@settings(max_examples=250, deadline=None)
@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_any_values_load_or_are_a_config_error(value: dict[str, object]) -> None:
    _loads_or_refuses(_flow(value))


def test_a_label_that_names_no_trust_store_deserves_a_word() -> None:
    text = (
        "trust: {corp: /etc/ssl/corp.pem}\ncollectors:\n"
        "  - {name: a, kind: file, paths: [/x.pem], labels: {trust: corp}}\n"
        "  - {name: b, kind: file, paths: [/x.pem], labels: {trust: 'corp, crop'}}\n"
    )
    (remark,) = read(text, env=ENV).remarks
    assert (
        remark
        == 'embedded default:4: collectors[1].labels.trust: "crop" is no trust store here, did you mean "corp"?'
    )
