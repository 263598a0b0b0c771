"""The name asked for against the names in the certificate."""

from collections.abc import Iterator

from certwatch.model.finding import Problem
from certwatch.model.location import parse_tls_location
from certwatch.model.sighting import Served
from certwatch.pki.hostnames import covers
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

SHOWN = 5


def _mismatch(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    if leaf is None:
        return
    wanted = parse_tls_location(served.location.uri).server_name
    if wanted is None:
        return
    if covers(leaf.names, wanted):
        if leaf.names_from_common_name:
            yield Problem(
                severity="ticket",
                fingerprint=leaf.fingerprint_sha256,
                summary=f"{wanted}: the certificate names it in its common name only",
                text="Browsers and most libraries look at subject alternative names alone (RFC 9525, 2) and refuse "
                "this certificate. Reissue it with the name as a subject alternative name.",
            )
        return
    if any(problem.startswith(("subject alternative name", "extension")) for problem in leaf.problems):
        yield Problem(
            severity="info",
            fingerprint=leaf.fingerprint_sha256,
            summary=f"{wanted}: whether the certificate names it cannot be told",
            text=f"Its names cannot all be read ({leaf.problems[0]}). Reissue it.",
        )
        return
    names = ", ".join(leaf.names[:SHOWN]) or "no name at all"
    more = f" and {len(leaf.names) - SHOWN} more" if len(leaf.names) > SHOWN else ""
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{wanted} is answered with a certificate of {leaf.shown}",
        text=f"The certificate names {names}{more}. Clients that ask for {wanted} refuse it. Serve a certificate with "
        "that name here (often a virtual host that is missing, so that the default one answers), or take the target "
        "out of the config if the name should not be served at this address.",
    )


RULE = Rule(
    id="name-mismatch",
    title="Certificate does not have the name that was asked for",
    why="A client that asks for a name accepts only a certificate that has it, as a subject alternative name: "
    "exactly, or by a wildcard that stands for the whole leftmost label. An endpoint given by its address alone is not "
    "judged, since nobody asked for a name.",
    fix="Serve a certificate with the name at that address, or remove the target. See it: `openssl s_client -connect "
    "ADDRESS:PORT -servername NAME </dev/null | openssl x509 -noout -ext subjectAltName`.",
    severity="ticket",
    source="RFC 9525, 6",
    evaluate=_mismatch,
    kinds=frozenset(["tls"]),
)
