"""Rules of the format that a certificate breaks, as the linter finds them."""

from collections.abc import Iterator

from certwatch.model.finding import Problem, Severity
from certwatch.model.lint import Lint
from certwatch.model.sighting import Served
from certwatch.pki.chains import assess
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import purpose_of

SHOWN = 5


class LintConfig(RuleConfig):
    #: Of what a linter finds.
    severity: Severity = "info"
    #: Tell of broken SHOULDs too.
    warnings: bool = False
    #: Codes that are not told of, as the linter names them.
    ignore: tuple[str, ...] = ()


def _statement(served: Served, config: LintConfig) -> Iterator[Problem]:
    """Of a CRL or an OCSP answer: what its collector has had linted."""
    for fact, what, standard in (("crl_lints", "CRL", "RFC 5280"), ("ocsp_lints", "OCSP answer", "RFC 6960")):
        codes = [each for each in str(served.facts.get(fact) or "").split(", ") if each]
        told = [each for each in codes if each not in config.ignore]
        if told:
            whose = served.facts.get("crl_issuer") or served.location.uri.partition("?")[0]
            yield Problem(
                severity=config.severity,
                fingerprint=None,
                summary=f"{what} of {whose} breaks {standard}: {', '.join(told)}",
                text="Strict clients may refuse it, and then take what it is about for revoked or for unknown. It is the CA's to "
                "mend, in the profile of what it signs.",
            )


def _lint(served: Served, config: LintConfig, world: World) -> Iterator[Problem | Until]:
    if not served.chain:
        yield from _statement(served, config)
        return
    if not world.lints or served.facts.get("arrangement", "chain") != "chain":
        return
    found = assess(served.chain, world.trust, world.now, purpose_of(served))
    public = any(world.trust[name].public for name in found.anchored)
    for certificate in found.needed:
        if public and certificate.is_ca:
            continue  # somebody else's CA
        told = [
            each
            for each in world.lints.get(certificate.fingerprint_sha256, ())
            if _is_told(each, config, public)
        ]
        if told:
            yield Problem(
                severity=config.severity,
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown} breaks {_profiles(told)}: {_codes(told)}",
                text="".join(
                    f"{each.code}{f': {each.message}' if each.message else ''}. " for each in told[:SHOWN]
                )
                + "Strict clients may refuse it, and a public CA must revoke what breaks the Baseline Requirements, within "
                "five days. Have it reissued without, and the CA's profile mended.",
            )


def _is_told(lint: Lint, config: LintConfig, public: bool) -> bool:
    return (
        (public or lint.profile == "rfc5280")
        and (config.warnings or lint.severity == "error")
        and lint.code not in config.ignore
    )


def _profiles(told: list[Lint]) -> str:
    return " and ".join(
        {"rfc5280": "RFC 5280", "cabf-tls": "the Baseline Requirements"}[each]
        for each in sorted({each.profile for each in told}, reverse=True)
    )


def _codes(told: list[Lint]) -> str:
    codes = list(dict.fromkeys(each.code for each in told))
    more = f" and {len(codes) - SHOWN} more" if len(codes) > SHOWN else ""
    return ", ".join(codes[:SHOWN]) + more


RULE = Rule(
    id="lint",
    title="Certificate, CRL or OCSP answer breaks a rule of the format",
    why="A linter (pkilint) holds each certificate against RFC 5280, and what browsers trust against the CA/Browser Forum's "
    "Baseline Requirements; CRLs against RFC 5280, and one OCSP answer of each responder against RFC 6960. What it finds is rarely an outage today; strict clients, and audits, look at the same. Linting "
    "is done by the daemon, in the background: a new certificate's lints come a moment after it.",
    fix="Tell the CA, or mend the profile of your own. What is of no interest: `ignore` its code. See it: "
    "`lint_pkix_cert lint FILE`, `lint_cabf_serverauth_cert lint -d FILE`, `lint_crl lint -t CRL -p PKIX FILE`, `lint_ocsp_response lint FILE`.",
    severity="info",
    source="RFC 5280; CA/Browser Forum Baseline Requirements, 7.1",
    evaluate=_lint,
    Config=LintConfig,
)
