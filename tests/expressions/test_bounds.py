"""Conditions that would take the process with them, or the machine's time: refused, or answered with no."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from certwatch.expressions import ExpressionError, compile
from certwatch.expressions.fields import Subject
from certwatch.model.certificate import Name
from tests.expressions.test_condition import CERTIFICATE_SEEN, SUBJECT, holds


def with_names(count: int) -> Subject:
    names = tuple(Name(f"dns:h{number}.example.com") for number in range(count))
    certificate = replace(CERTIFICATE_SEEN, names=names)
    return replace(SUBJECT, certificate=certificate, chain=(certificate, CERTIFICATE_SEEN))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Each map doubles it: thirty of them took the process with them (it cannot be caught).
        ('["aaaaaaaa"]' + ".map(x, x + x)" * 30 + ".size() == 1", "map is not done here"),
        ('cert.names.map(n, n == "a").size() == 1', "map is not done here"),
        ("cert.names.all(a, chain.all(b, chain.all(c, true)))", "more than 2 macros"),
        ('cert.subject + "' + '" + "'.join("abcdefghi") + '" == ""', "more than 8 additions"),
        (
            f"cert.names.all(a, [{'a, ' * 20}a].all(b, [{'b, ' * 20}b].size() == 21))",
            "names the variables of two macros within one another too often",
        ),
        ("[1].exists((cert), true)", "exists wants a name and a condition: LIST.exists(each, …)"),
        # A raw text ends at its quote, whatever stands before that; what follows is no text.
        (r'r"\" + ["a"].map(x, x + x)[0] == " "', "map is not done here"),
    ],
)
def test_a_condition_that_explodes_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        compile(text, scope="rule")
    assert raised.value.message.startswith(message)
    assert raised.value.column is not None


@pytest.mark.parametrize(
    "text",
    [
        'chain.exists(each, each.names.exists(name, name == "dns:h7.example.com"))',
        'cert.names.filter(name, name.endsWith(".example.com")).size() > 100',
        'cert.names.exists(name, name == "a" || name == "b" || name == "dns:h5.example.com") && !cert.is_ca',
        '"dns:" + "h3" + ".example.com" in cert.names',
        r'"dns:h1.example.com" in cert.names && r"\" != ""',
    ],
)
def test_one_that_people_write_is_answered(text: str) -> None:
    assert holds(text, with_names(200))


def test_macros_within_one_another_do_not_hold_where_lists_are_very_long() -> None:
    """Ten thousand names, which is what is read of a certificate, would be a hundred million steps, with everything else waiting."""
    text = "cert.names.all(a, cert.names.all(b, a != b || a == b))"
    assert holds(text, with_names(100))
    began = time.process_time()
    assert not holds(text, with_names(10_000))
    assert not holds(text.replace("cert.names.all(a", "chain[0].names.all(a"), with_names(10_000))
    assert time.process_time() - began < 5


def test_a_list_that_is_written_out_counts_as_well() -> None:
    ones = ",".join(["1"] * 1800)
    began = time.process_time()
    compile(f"[{ones}].all(a, cert.names.all(b, true))", scope="rule").matches(SUBJECT)
    assert not holds(f"[{ones}].all(a, chain.all(b, true))")
    assert time.process_time() - began < 5


@pytest.mark.parametrize("text", ["!" * 4000 + "true", "-" * 4000 + "1 == 1", "[1]" + "[0]" * 1300 + " == 1"])
def test_one_that_is_deep_ends_no_thread(text: str) -> None:
    """In a process of its own: a stack that is too small cannot be caught."""
    code = (
        "import sys, threading\n"
        "from certwatch.expressions import ExpressionError, compile\n"
        "def ask():\n"
        "    try: compile(sys.argv[1], scope='rule')\n"
        "    except ExpressionError: pass\n"
        "thread = threading.Thread(target=ask); thread.start(); thread.join()\n"
    )
    assert subprocess.run([sys.executable, "-c", code, text], check=False).returncode == 0
