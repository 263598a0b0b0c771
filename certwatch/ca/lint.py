"""The would-be certificate, held against RFC 5280 before anything is signed for real.

The linter takes half a second to import and two milliseconds a certificate: it is imported in the background as soon as
a CA is opened, and who issues first waits for it.
"""

import threading

from certwatch.ca.failure import CAError

#: The linter knows the web's schemes alone, and would refuse each SPIFFE ID; `names` has checked them.
PASSED_OVER = frozenset({"pkix.invalid_uri_syntax"})
SHOWN = 5


class Lint:
    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        if wanted:
            threading.Thread(target=_load, name="certwatch-lint", daemon=True).start()

    def check(self, der: bytes) -> str:
        """What the ledger says of it: "passed", or "none" where it is switched off. Raises CAError "lint"."""
        if not self._wanted:
            return "none"
        try:
            wrong = _wrong(der)
        except ValueError as error:
            wrong = [f"it cannot be parsed: {error}"]
        if wrong:
            shown = "; ".join(wrong[:SHOWN])
            raise CAError("lint", f"the certificate would have faults, so it is not signed: {shown}")
        return "passed"


def _load() -> None:
    import certwatch.pki.lint  # noqa: F401 - ready when the first certificate is


def _wrong(der: bytes) -> list[str]:
    from certwatch.pki.lint import FORMAT, lint

    return [
        f"{each.code} {each.message}".strip()
        for each in lint(der, FORMAT)
        if each.severity == "error" and each.code not in PASSED_OVER
    ]
