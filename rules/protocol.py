"""Protocol versions and cipher suites that are no longer enough."""

from collections.abc import Iterator

from certwatch.model.finding import Problem, Severity
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

_OLD = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1")
#: Part of OpenSSL's name of a suite, and what is wrong with it. In order of gravity.
_BROKEN = (
    ("NULL", "does not encrypt"),
    ("EXP", "encrypts with 40 or 56 bits"),
    ("ADH", "authenticates nobody"),
    ("AECDH", "authenticates nobody"),
    ("RC4", "uses RC4 (RFC 7465)"),
    ("DES", "uses DES or triple DES (SWEET32)"),
    ("SEED", "uses SEED"),
    ("IDEA", "uses IDEA"),
)


def _protocol(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    version, cipher = served.facts.get("tls_version"), served.facts.get("cipher")
    if isinstance(version, str) and version in _OLD:
        yield _said(
            served,
            "ticket",
            f"speaks {version} at best",
            "TLS 1.0 and 1.1 are deprecated (RFC 8996), and clients refuse them. A client that offers everything up to "
            f"TLS 1.3 was answered with {version}: the server has no better. Switch TLS 1.2 and 1.3 on, or replace it.",
        )
        return
    if isinstance(cipher, str):
        suite = cipher.upper()
        why = next((text for part, text in _BROKEN if part in suite), None)
        if why is not None:
            yield _said(
                served,
                "ticket",
                f"chooses {cipher}, which {why}",
                "It was chosen among all that a current client offers. Take it out of the server's list "
                "(ssl_ciphers, SSLCipherSuite), and put suites with AES-GCM or ChaCha20 and ECDHE first.",
            )


def _said(served: Served, severity: Severity, summary: str, text: str) -> Problem:
    return Problem(severity=severity, fingerprint=None, summary=f"{served.location.uri} {summary}", text=text)


RULE = Rule(
    id="weak-protocol",
    title="Server's best protocol or cipher is weak",
    why="What is judged is what the server chooses when everything is offered, so its best or its preference: TLS below "
    "1.2, or a suite that is broken. That it also speaks something old with old clients is not looked for.",
    fix="Switch on TLS 1.2 and 1.3 with modern suites: `openssl s_client -connect HOST:PORT -servername NAME </dev/null` "
    "shows what is chosen.",
    severity="ticket",
    source="RFC 8996; RFC 9325, 3 and 4",
    evaluate=_protocol,
    kinds=frozenset(["tls"]),
)
