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


def _lint(served: Served, config: LintConfig, world: World) -> Iterator[Problem | Until]:
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
    title="Certificate breaks a rule of the format",
    why="A linter (pkilint) holds each certificate against RFC 5280, and what browsers trust against the CA/Browser Forum's "
    "Baseline Requirements. What it finds is rarely an outage today; strict clients, and audits, look at the same. Linting "
    "is done by the daemon, in the background: a new certificate's lints come a moment after it.",
    fix="Tell the CA, or mend the profile of your own. What is of no interest: `ignore` its code. See it: "
    "`lint_pkix_cert lint FILE`, `lint_cabf_serverauth_cert lint -d FILE`.",
    severity="info",
    source="RFC 5280; CA/Browser Forum Baseline Requirements, 7.1",
    evaluate=_lint,
    Config=LintConfig,
)
