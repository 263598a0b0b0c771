"""The would-be certificate, held against RFC 5280 by pkilint before anything is signed for real.

pkilint takes a quarter of a second to import and two milliseconds a certificate: it is imported in the background as soon
as a CA is opened, and who issues first waits for it.
"""

import threading
from collections.abc import Callable
from typing import Literal

from certwatch.ca.failure import CAError

Mode = Literal["auto", "required", "off"]
#: Gives what is wrong with a certificate (DER), a line each. Empty: nothing.
Linter = Callable[[bytes], list[str]]


class Lint:
    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._linter: Linter | None = None
        self._thread: threading.Thread | None = None
        if mode != "off":
            self._thread = threading.Thread(target=self._load, name="certwatch-lint", daemon=True)
            self._thread.start()

    def _load(self) -> None:
        try:
            self._linter = _linter()
        except ImportError:
            self._linter = None

    def check(self, der: bytes) -> str:
        """What the ledger says of it: "passed" or "none". Raises CAError "lint"."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._linter is None:
            if self._mode == "required":
                raise CAError(
                    "lint", 'ca: lint: required, and pkilint is not installed: pip install "certwatch[ca]"'
                )
            return "none"
        wrong = self._linter(der)
        if wrong:
            raise CAError(
                "lint", "the certificate would have faults, so it is not signed: " + "; ".join(wrong[:5])
            )
        return "passed"

    @property
    def is_on(self) -> bool:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self._linter is not None


def _linter() -> Linter:
    from pkilint import loader
    from pkilint.pkix import certificate, extension, name
    from pkilint.validation import ValidationFindingSeverity

    validator = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )

    def lint(der: bytes) -> list[str]:
        document = loader.load_certificate(der, "would-be")
        return [
            f"{each.finding.code} {each.message or ''}".strip()
            for result in validator.validate(document.root)
            for each in result.finding_descriptions
            if each.finding.severity <= ValidationFindingSeverity.ERROR
            # It knows the web's schemes alone, and would refuse each SPIFFE ID; `names` has checked them.
            and each.finding.code != "pkix.invalid_uri_syntax"
        ]

    return lint
