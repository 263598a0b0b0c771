"""Conditions: what holds, what does not, and what is refused beforehand with a reason."""

import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.expressions import Expression, ExpressionError, compile
from certwatch.expressions.cel_library import cel
from certwatch.expressions.condition import FUNCTIONS
from certwatch.expressions.fields import CERTIFICATE, VARIABLES, Scope, Subject, certificate_value
from certwatch.model.certificate import Name
from certwatch.model.location import Location, LocationURI
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.x509.der import read

CERTIFICATE_SEEN = read(
    make_certificate(names=("dns:www.example.com", "dns:example.com"), key_kind="rsa").der
)
SUBJECT = Subject(
    certificate=CERTIFICATE_SEEN,
    location=Location(
        uri=LocationURI("tls://192.0.2.7:443/?sni=www.example.com"),
        labels={"environment": "prod", "app.kubernetes.io/name": "web"},
    ),
    chain=(CERTIFICATE_SEEN,),
    facts={"tls_version": "TLSv1.2", "alpn": None},
    collectors=("edge",),
    owner="payments",
    now=EPOCH,
)


def holds(text: str, subject: Subject = SUBJECT, *, scope: Scope = "rule") -> bool:
    return compile(text, scope=scope).matches(subject)


@pytest.mark.parametrize(
    "text",
    [
        'cert.key.type == "rsa" && location.labels.environment == "prod"',
        "cert.key.bits >= 2048",
        'cert.names.exists(name, name.endsWith(".example.com"))',
        '"dns:example.com" in cert.names',
        'location.labels["app.kubernetes.io/name"] == "web"',
        "cert.lifetime == duration('2160h')",
        'cert.not_after > timestamp("2026-12-01T00:00:00Z")',
        'cert.serial_number.matches("^[0-9a-f]+$")',
        'location.uri.startsWith("tls://")',
        'location.kind == "tls" && "edge" in location.collectors && location.owner == "payments"',
        'location.facts.tls_version in ["TLSv1", "TLSv1.1", "TLSv1.2"]',
        "chain.size() == 1 && !chain[0].is_ca",
        "has(cert.key.exponent) && !has(location.labels.namespace)",
        "cert.is_self_issued // a remark",
    ],
)
def test_a_condition_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        'location.labels.namespace == "payments"',
        # Neither it nor its contrary holds of what is not known.
        'location.labels.namespace != "payments"',
        '!(location.labels.namespace == "payments")',
        'location.facts.alpn == "h2"',
        "cert.key.bits < '2048'",
        "cert.names[7] == 'dns:x'",
        "1 / (cert.key.bits - 2048) == 1",
    ],
)
def test_what_cannot_be_answered_does_not_hold(text: str) -> None:
    assert not holds(text)


def test_an_unreadable_field_is_absent_and_never_no() -> None:
    unreadable = replace(SUBJECT, certificate=replace(CERTIFICATE_SEEN, not_after=None))
    assert not holds('cert.not_after < timestamp("2100-01-01T00:00:00Z")', unreadable)
    assert not holds('cert.not_after >= timestamp("2100-01-01T00:00:00Z")', unreadable)
    assert holds("!has(cert.not_after)", unreadable)


def test_without_certificate_or_location_what_needs_one_does_not_hold() -> None:
    assert not holds("!cert.is_ca", replace(SUBJECT, certificate=None))
    assert not holds('location.kind == "tls"', replace(SUBJECT, location=None))
    assert holds('location.kind == "tls"', replace(SUBJECT, certificate=None))


def test_a_list_can_ask_for_the_time_left() -> None:
    assert CERTIFICATE_SEEN.not_after is not None
    soon = replace(SUBJECT, now=CERTIFICATE_SEEN.not_after - timedelta(days=5))
    text = 'cert.not_after - now < duration("720h")'
    assert holds(text, soon, scope="list")
    assert not holds(text, scope="list")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty condition"),
        ("cert.key.type ==", "column 17: it ends too early"),
        ("cert..key", "column 6: no viable alternative at input '..'"),
        ("cret.is_ca", 'unknown name "cret", did you mean "cert"? (known here: cert, chain, location)'),
        ('cert.key.tpye == "rsa"', '"cert.key" has no "tpye", did you mean "type"?'),
        ("cert.subject.cn == 'x'", '"cert.subject" has no fields'),
        ("cert.subject.endswith('x')", 'unknown function "endswith", did you mean "endsWith"?'),
        ("cert.subject.matches('(')", "not a regular expression: '(': missing ): ("),
        ("cert.subject", "gives text, not true or false: compare it with something"),
        ("now > cert.not_after", 'unknown name "now" (known here: cert, chain, location)'),
        ("x" * 5000, "longer than 4096 characters"),
        ("\ud800", "has a character that cannot be written in UTF-8"),
    ],
)
def test_a_mistake_is_told_beforehand(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        compile(text, scope="rule")
    assert raised.value.message == message


def test_a_syntax_error_knows_its_line() -> None:
    with pytest.raises(ExpressionError) as raised:
        compile("cert.is_ca\n  && &&", scope="rule")
    assert (raised.value.line, raised.value.column) == (2, 6)


def test_names_in_texts_and_remarks_are_not_names() -> None:
    assert not holds("cert.subject == 'foo.bar \\'cert.x' // cert.nothing")


def test_every_named_function_exists() -> None:
    shapes = ("{}(1)", '{}("1")', '"1".{}("1")', '{}("1h")', 'timestamp("2026-01-01T00:00:00Z").{}()',
              '{}("2026-01-01T00:00:00Z")')  # fmt: skip
    for name in FUNCTIONS:
        for shape in shapes:
            try:
                cel().compile(shape.format(name)).execute({})
                break
            except (RuntimeError, TypeError, ValueError):
                continue
        else:
            pytest.fail(name)


def test_every_documented_field_of_a_certificate_has_a_value() -> None:
    whole = replace(
        CERTIFICATE_SEEN,
        key=replace(CERTIFICATE_SEEN.key, curve="secp256r1"),
        key_usage=frozenset(["digitalSignature"]),
        extended_key_usage=("serverAuth",),
    )
    value = certificate_value(whole)
    assert set(value) == set(CERTIFICATE)
    assert set(value["key"]) == set(CERTIFICATE["key"])  # type: ignore[call-overload]


def test_only_what_is_read_is_made() -> None:
    reads = compile('cert.key.type == "rsa" && location.labels.a == "b"', scope="rule").reads
    assert reads == {"cert": frozenset({"key"}), "location": frozenset({"labels"})}
    assert compile("cert == cert", scope="rule").reads == {"cert": None}


def test_the_library_is_loaded_without_its_command_line() -> None:
    # Its package imports typer and prompt_toolkit: 250 ms.
    code = (
        "import sys; from certwatch.expressions import compile; compile('cert.is_ca', scope='list');"
        "assert 'typer' not in sys.modules and 'prompt_toolkit' not in sys.modules;"
        "import cel; assert cel.compile('true').execute()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(
    text=st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                ["cert", ".", "key", "location", "labels", "(", ")", "[", "]", '"', "'", "==", "&&", "!", "now",
                 "1", "in", "?", ":", ",", "exists", "matches", "{", "}", "-", "//", " ", "\n", "\\", "chain"]
            ),
            max_size=14,
        ).map("".join),
    ),
    scope=st.sampled_from(sorted(VARIABLES)),
)  # fmt: skip
def test_any_text_is_a_condition_or_an_expression_error(text: str, scope: Scope) -> None:
    try:
        expression = compile(text, scope=scope)
    except ExpressionError:
        return
    assert isinstance(expression, Expression)
    assert expression.matches(SUBJECT) in (True, False)


def test_a_regular_expression_is_searched_for_as_cel_has_it() -> None:
    assert holds('cert.names.exists(name, name.matches("^dns:.*[.]example[.]com$"))')
    assert holds(r"""cert.subject.matches(r'\bwww\b') && cert.issuer . matches ( "example" )""")
    assert not holds('cert.subject.matches("^www$")')
    # Texts that look like calls are texts.
    assert holds('!cert.subject.contains(".matches(") && cert.subject.matches("www")')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cert.subject.matches(cert.issuer)", 'a regular expression is written out: TEXT.matches("…")'),
        ('matches(cert.subject, "a")', 'a regular expression is written out: TEXT.matches("…")'),
        ('cert.subject.matches("((a{500}){500}){500}")', "not a regular expression: "),
    ],
)
def test_a_regular_expression_is_one_that_somebody_has_looked_at(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        compile(text, scope="rule")
    assert raised.value.message.startswith(message)


def test_a_regular_expression_of_many_states_takes_no_long_time() -> None:
    # The library's own engine compiled it for a hundredth of a second, at each name anew.
    many = replace(SUBJECT, certificate=replace(CERTIFICATE_SEEN, names=(Name("dns:a.example.com"),) * 2000))
    began = time.process_time()
    assert not holds(r'cert.names.exists(name, name.matches("\\w{200}x"))', many)
    assert time.process_time() - began < 5
