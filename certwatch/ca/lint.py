"""The would-be certificate, held against RFC 5280 before anything is signed for real.

The linter takes half a second to import and two milliseconds a certificate: it is imported in the background as soon as
a CA is opened, and who issues first waits for it.

Two milliseconds are ten times what all the rest of issuing takes. So one certificate is linted for many of the same form. They
differ in serial number, instants, key bits, key identifier, and host names and addresses, and of these the linter asks: is the number
positive and short, are instants in order and encoded by their century, is the key of its algorithm, is a name one by RFC 1123, is an
address 4 or 16 bytes? `certificate`, `request` and `names` decide that for every certificate, as strictly as the linter. All else, every
byte that comes from profile and issuer, is the same in all of a form. Names of other kinds, whose syntax is wide (e-mail, URIs), and
subjects with more than a common name that is one of the names have no form: each such certificate is linted. So is the first of a form, and
one in a thousand after it."""

import threading
from collections.abc import Callable, Hashable

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certwatch.ca.certificate import Addresses, Draft, Issuer
from certwatch.ca.failure import CAError
from certwatch.ca.profiles import Profile
from certwatch.ca.request import Order
from certwatch.ca.signer import PublicKey

#: The linter knows the web's schemes alone, and would refuse each SPIFFE ID; `names` has checked them.
PASSED_OVER = frozenset({"pkix.invalid_uri_syntax"})
SHOWN = 5
#: Certificates of one form that one stands for, and forms that are known.
STANDS_FOR = 1000
MOST_FORMS = 256

Form = Hashable


def form_of(
    order: Order, profile: Profile, issuer: Issuer, addresses: Addresses, made: Draft, public: PublicKey
) -> Form | None:
    """Equal for certificates that the linter cannot tell apart. None: this one is like no other."""
    if not order.names or not all(each.startswith(("dns:", "ip:")) for each in order.names):
        return None
    if [short for short, _ in order.subject] not in ([], ["CN"]):
        return None
    values = [each.partition(":")[2] for each in order.names]
    if order.subject and order.subject[0][1] not in values:
        return None
    return (
        profile.usage, profile.path_length, profile.policies, profile.must_staple, profile.permitted, profile.excluded,
        issuer.certificate, addresses, made.shard, _kind(public),
        frozenset(each.partition(":")[0] for each in order.names), len(order.names) == len(set(order.names)),
        bool(order.subject) or any(each.startswith("dns:") and len(each) <= 68 for each in order.names),
        made.not_before.year >= 2050, made.not_after.year >= 2050, made.not_before < made.not_after,
    )  # fmt: skip


def _kind(public: PublicKey) -> tuple[object, ...]:
    if isinstance(public, rsa.RSAPublicKey):
        return "rsa", public.key_size, public.public_numbers().e
    if isinstance(public, ec.EllipticCurvePublicKey):
        return "ec", public.curve.name
    return (type(public).__name__,)


class Lint:
    """Used by whoever has the CA's turn."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        #: By form: which certificate stands for it, and for how many it may yet.
        self._passed: dict[Form, tuple[str, int]] = {}
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

    def check_form(self, form: Callable[[], Form | None], serial: str, der: Callable[[], bytes]) -> str:
        """The same of one whose form may have passed before: then "as SERIAL", of the certificate that was linted. Raises
        CAError "lint"."""
        if not self._wanted:
            return "none"
        its = form()
        if its is None:
            return self.check(der())
        stands, left = self._passed.get(its, ("", 0))
        if left:
            self._passed[its] = (stands, left - 1)
            return f"as {stands}"
        said = self.check(der())
        if len(self._passed) >= MOST_FORMS:
            self._passed.clear()
        self._passed[its] = (serial, STANDS_FOR - 1)
        return said


def _load() -> None:
    import certwatch.pki.lint  # noqa: F401 - ready when the first certificate is


def _wrong(der: bytes) -> list[str]:
    from certwatch.pki.lint import FORMAT, lint

    return [
        f"{each.code} {each.message}".strip()
        for each in lint(der, FORMAT)
        if each.severity == "error" and each.code not in PASSED_OVER
    ]
