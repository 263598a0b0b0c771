import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwatch.ca import lint
from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified, issue
from certwatch.ca.names import checked
from tests.support.cas import URL, authority, issued, order


def said_of(ca: Authority, made: Certified) -> str:
    """What the ledger says of its lint."""
    for (entry,) in ca.rows("SELECT entry FROM ledger ORDER BY position DESC"):
        body = json.loads(entry)
        if body["kind"] == "intent" and body["serial"] == made.serial:
            return str(body["lint"])
    raise AssertionError(made.serial)


def test_one_is_linted_for_others_of_the_same_form_and_the_ledger_says_which(tmp_path: Path) -> None:
    with authority(tmp_path, lint=True, url=URL) as ca:
        first = issued(ca, "dns:a.example.com")
        assert said_of(ca, first) == "passed"
        for names in (("dns:b.example.com",), ("dns:c.example.com", "dns:d.example.com")):
            assert said_of(ca, issued(ca, *names)) == f"as {first.serial}"
        # Another kind of name, key or usage is another form.
        assert said_of(ca, issued(ca, "dns:e.example.com", "ip:10.0.0.1")) == "passed"
        assert said_of(ca, issued(ca, "dns:a.example.com", profile="mtls")) == "passed"


def test_what_has_a_wide_syntax_is_linted_each_time(tmp_path: Path) -> None:
    with authority(tmp_path, lint=True) as ca:
        for _ in range(2):
            assert said_of(ca, issued(ca, "email:a@example.com", profile="client")) == "passed"
            assert said_of(ca, issued(ca, "uri:spiffe://example.com/a", profile="mtls")) == "passed"
            subject = "CN=a@example.com,O=Example"
            assert (
                said_of(ca, issued(ca, "email:a@example.com", profile="email", subject=subject)) == "passed"
            )


def test_one_stands_for_no_more_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "STANDS_FOR", 3)
    with authority(tmp_path, lint=True) as ca:
        said = [said_of(ca, issued(ca, f"dns:h{number}.example.com")) for number in range(5)]
        assert [each.split()[0] for each in said] == ["passed", "as", "as", "passed", "as"]


def test_a_form_that_has_faults_is_never_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with authority(tmp_path, lint=True) as ca:
        with monkeypatch.context() as patched:
            # What a profile that was written badly would bring.
            patched.setattr(lint, "_wrong", lambda der: ["pkix.bad certificate"])
            for _ in range(2):
                [answer] = issue(ca, [(order(ca, "dns:a.example.com"), None)])
                assert isinstance(answer, CAError)
                assert answer.kind == "lint"
        assert said_of(ca, issued(ca, "dns:a.example.com")) == "passed"


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
HOST = st.builds(
    lambda star, labels: f"dns:{star}{'.'.join(labels)}",
    st.sampled_from(["", "*."]),
    st.lists(LABEL, min_size=2, max_size=4),
)
ADDRESS = st.ip_addresses().map(lambda address: f"ip:{address}")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HOST | ADDRESS, min_size=1, max_size=4))
def test_names_that_are_taken_have_nothing_that_the_linter_finds(tmp_path: Path, wanted: list[str]) -> None:
    """On this rests that one is linted for many: of host names and addresses `names` is the stricter one."""
    try:
        names = checked(wanted)
    except CAError:
        return
    with authority(tmp_path, lint=True) as ca:
        # As if it were the first of its form.
        ca.lint._passed.clear()
        assert said_of(ca, issued(ca, *names)) == "passed"
