"""The chain as it is presented. One cause has one finding: what follows from another fault is not said again."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem, Severity
from certwatch.model.location import FILE_KINDS
from certwatch.model.sighting import Served
from certwatch.pki.chains import Assessment, assess
from certwatch.pki.signatures import signature
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import end_of, purpose_of


def _assessed(served: Served, world: World) -> Assessment | None:
    """None: there is no chain to judge (nothing seen, or a bundle)."""
    if not served.chain or served.facts.get("arrangement", "chain") != "chain":
        return None
    return assess(served.chain, world.trust, world.now, purpose_of(served))


def _is_explained(found: Assessment) -> bool:
    """It leads to an anchor, or another rule says why it does not."""
    return bool(found.anchored) or found.broken is not None or found.unverified is not None


def _is_self_signed(leaf: Certificate) -> bool:
    return leaf.is_self_issued and signature(leaf, leaf) != "bad"


def _said(certificate: Certificate, severity: Severity, summary: str, text: str) -> Problem:
    return Problem(severity=severity, fingerprint=certificate.fingerprint_sha256, summary=summary, text=text)


def _stores(world: World) -> str:
    return ", ".join(world.trust) or "none is configured"


def _self_signed(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    found = _assessed(served, world)
    if found is None or found.anchored or not _is_self_signed(found.path[0]):
        return
    leaf = found.path[0]
    yield _said(
        leaf,
        "info" if served.location.kind in FILE_KINDS else "ticket",
        f"{leaf.shown} is self-signed",
        "No client trusts it unless it was given to that client by hand, and nobody can revoke it. Have it issued by a "
        "CA; if it is meant to be trusted as it is, add it to a trust store in the config (`trust:`).",
    )


def _signature(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    found = _assessed(served, world)
    if found is None or found.anchored:
        return
    if found.unverified is not None:
        certificate, issuer = found.unverified
        yield _said(
            certificate,
            "ticket",
            f"{certificate.shown}: its signature by {issuer.shown} cannot be verified here",
            f"It is made with {certificate.signature_algorithm or 'an unreadable algorithm'}, or one of the two breaks "
            "the format. Whether that issuer signed it is not known, so the chain is not taken for trusted; most "
            "clients refuse it as well. Reissue it with a common algorithm.",
        )
        return
    if found.broken is None:
        return
    certificate, issuer = found.broken
    yield _said(
        certificate,
        "ticket" if served.location.kind in FILE_KINDS else "page",
        f"{certificate.shown}: its signature does not verify by the issuer presented with it",
        f"{issuer.shown} has the issuer's name but another key (a CA that was renewed or made anew), or one of the two "
        "was altered. Clients refuse the chain. Present the issuer that signed this certificate, or reissue it.",
    )


def _invalid(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    found = _assessed(served, world)
    if found is None or not found.anchored:
        return
    fault = found.fault
    if fault is None:
        # Its anchor's end is nobody else's matter: it is not presented.
        for name in found.anchored:
            ends = [end_of(each) for each in world.trust[name].issuers_of(found.path[found.anchored[name]])]
            yield from (Until(instant=end) for end in ends if end is not None and end > world.now)
        return
    at = fault.certificate or found.path[0]
    if fault.kind in ("expired", "not-yet-valid") and at in found.path:
        return  # said of the certificate itself
    store = ", ".join(found.anchored)
    yield _said(
        at if at in served.chain else found.path[0],
        "ticket" if served.location.kind in FILE_KINDS else "page",
        f"{found.path[0].shown}: its chain is refused, {at.shown} {fault.text}",
        f"Every signature up to the trust store ({store}) is good, and yet OpenSSL, and with it most clients, refuses the "
        "chain for that. Reissue the certificate at fault, or present another way to a root.",
    )


#: An issuer that is fetched meanwhile wakes nobody.
RECHECK = timedelta(hours=1)


def _completed(served: Served, found: Assessment, world: World) -> Assessment | None:
    """The chain with what is published of it. None: nothing is, or it leads no further."""
    if not world.issuers:
        return None
    completed = assess((*served.chain, *world.issuers), world.trust, world.now, purpose_of(served))
    return completed if len(completed.path) > len(found.path) else None


def _missing(served: Served, completed: Assessment) -> Iterator[Problem | Until]:
    """It leads to a trust store with what it lacks, and without it does not."""
    leaf = completed.path[0]
    lacking = [each for each in completed.needed if each not in served.chain]
    names = ", ".join(each.shown for each in lacking)
    urls = [url for each in completed.needed for url in each.issuer_urls[:1] if each.issuer_der in
            {above.subject_der for above in lacking}]  # fmt: skip
    yield _said(
        leaf,
        "ticket",
        f"{leaf.shown} is presented without {names}",
        f"With it the chain leads to a trust store ({', '.join(completed.anchored)}). It is published at "
        f"{', '.join(urls)}: some browsers fetch it there, or remember it; curl, Java, Python and most other clients fail. "
        "Serve the full chain (fullchain.pem, not cert.pem), or append what is missing: "
        f"`curl -s {urls[0] if urls else 'URL'} | openssl x509 -inform DER`.",
    )


def _incomplete(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    found = _assessed(served, world)
    if found is None or _is_explained(found) or found.end.is_self_issued:
        return
    if served.location.kind in FILE_KINDS and len(served.chain) == 1:
        return  # cert.pem beside chain.pem: its server puts them together
    if any(each.issuer_urls for each in found.path):
        yield Until(instant=world.now + RECHECK)
    completed = _completed(served, found, world)
    if completed is not None and completed.anchored:
        yield from _missing(served, completed)
        return
    if len(found.path) > 1 or completed is not None:
        return  # an intermediate is there: what is missing is trust in its root
    yield _said(
        found.end,
        "ticket",
        f"{found.end.shown} is presented without its issuer's certificate",
        f"The issuer, {found.end.issuer or 'unreadable'}, is neither presented nor in a trust store ({_stores(world)}). "
        "Browsers may fetch or remember it; most other clients fail. Serve the full chain (fullchain.pem, not cert.pem); "
        "if the issuer is a root of yours, add it to a trust store in the config.",
    )


def _untrusted(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    found = _assessed(served, world)
    if found is None or _is_explained(found):
        return
    completed = _completed(served, found, world)
    if completed is not None and completed.anchored:
        return  # what is missing is an intermediate, not trust
    found = completed or found
    if len(found.path) < 2:
        return
    if served.location.kind in FILE_KINDS and (not world.trust or len(served.chain) == 1):
        return
    top = found.end.subject if found.end.is_self_issued else found.end.issuer
    yield _said(
        found.path[0],
        "ticket",
        f"{found.path[0].shown} leads to {top or 'an unreadable issuer'}, which no trust store has",
        f"Trust stores looked at: {_stores(world)}. Clients with these stores refuse it. If the CA is yours, add its "
        "root under `trust:` in the config and see that clients have it; else have it issued by a CA that they trust.",
    )


def _order(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    found = _assessed(served, world)
    if found is None or found.in_order or len(found.path) < 2:
        return
    yield _said(
        found.path[0],
        "ticket",
        f"{found.path[0].shown}: the chain is not in order",
        "Each certificate must be followed by the one that issued it. TLS 1.2 demands it, and clients that build no "
        "paths of their own fail. Put leaf, then intermediates upwards, into the file.",
    )


def _superfluous(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    found = _assessed(served, world)
    if found is None or found.broken is not None:
        return
    said = {each.fingerprint_sha256 for each in found.needed}
    on_path = {each.fingerprint_sha256 for each in found.path}
    for certificate in (*found.path, *found.superfluous):
        if certificate.fingerprint_sha256 in said:
            continue
        said.add(certificate.fingerprint_sha256)
        end = end_of(certificate)
        expired = end is not None and end <= world.now
        if end is not None and not expired:
            yield Until(instant=end)
        if expired:
            yield _said(
                certificate,
                "ticket",
                f"{certificate.shown} is presented, not needed, and expired",
                "Clients that reach a root without it do not mind; old ones, that try the presented chain only, "
                "fail. Take it out of the chain.",
            )
        elif certificate.fingerprint_sha256 not in on_path:
            yield _said(
                certificate,
                "info",
                f"{certificate.shown} is presented, though it is not part of the chain",
                "It costs bytes in every handshake and confuses. Take it out.",
            )


CHAIN_FIX = (
    "Put the right certificates, in order, into the file that the server loads, and reload it. See them: "
    "`certwatch show LOCATION`, `openssl s_client -connect HOST:PORT -servername NAME -showcerts </dev/null`."
)

SELF_SIGNED = Rule(
    id="self-signed",
    title="Certificate is self-signed",
    why="It is its own issuer, and in no trust store: clients refuse it, or have been taught to accept anything.",
    fix="Have it issued by a CA, or add it to a trust store in the config if it is meant to be trusted as it is.",
    severity="ticket",
    source="RFC 5280, 6.1",
    evaluate=_self_signed,
)
SIGNATURE = Rule(
    id="chain-signature",
    title="Signature in the chain does not verify",
    why="A certificate is presented with an issuer of the right name whose key did not sign it: clients refuse it, a page. Or the "
    "signature cannot be verified here at all: the chain is then not taken for trusted, a ticket.",
    fix=CHAIN_FIX,
    severity="page",
    source="RFC 5280, 6.1.3",
    evaluate=_signature,
)
INVALID = Rule(
    id="chain-invalid",
    title="Chain is refused by clients",
    why="Its signatures lead to a trusted root, but it breaks a rule of path validation: a CA's name constraints or path "
    "length, a usage that does not fit, a critical extension that nobody knows, a root in the trust store that has "
    "itself expired. Judged by OpenSSL over every way that leads to a root, so that an expired cross-sign beside a good one is no matter.",
    fix=CHAIN_FIX,
    severity="page",
    source="RFC 5280, 6.1",
    evaluate=_invalid,
)
INCOMPLETE = Rule(
    id="chain-incomplete",
    title="Intermediate certificate is missing",
    why="The server presents its certificate without the one that issued it, and no trust store has that. Browsers "
    "often get along, by fetching or remembering it, so that the fault is seen by programs, telephones and API clients "
    "only.",
    fix=CHAIN_FIX,
    severity="ticket",
    source="RFC 8446, 4.4.2",
    evaluate=_incomplete,
)
UNTRUSTED = Rule(
    id="chain-untrusted",
    title="Chain leads to no trusted root",
    why="What is presented is complete as far as it goes, but none of the configured trust stores has its root.",
    fix="Add your own root under `trust:` in the config, or have the certificate issued by a CA that clients trust.",
    severity="ticket",
    source="RFC 5280, 6.1.1 (d)",
    evaluate=_untrusted,
)
ORDER = Rule(
    id="chain-order",
    title="Chain is not in order",
    why="Each certificate should directly certify the one before it. TLS 1.3 asks clients to cope; many older ones "
    "do not.",
    fix=CHAIN_FIX,
    severity="ticket",
    source="RFC 5246, 7.4.2; RFC 8446, 4.4.2",
    evaluate=_order,
)
SUPERFLUOUS = Rule(
    id="chain-superfluous",
    title="Certificate is presented that is not needed",
    why="Extra certificates make every handshake larger. An extra one that has expired breaks clients that look at "
    "nothing but the presented chain, as in May 2020 and September 2021; it never pages, since most do not.",
    fix=CHAIN_FIX,
    severity="ticket",
    source="RFC 8446, 4.4.2",
    evaluate=_superfluous,
)
