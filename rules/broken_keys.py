"""RSA keys that anyone can break, though they are long enough, by the checks that badkeys keeps."""

from collections.abc import Iterator
from functools import lru_cache

from badkeys.checks import checkrsa
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.pki.known_keys import KnownKeys
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import concerned
from rules.policy_clock import QUANTUM_END

#: badkeys' checks that compute. Its list of known keys is a file that has to be fetched: `known_keys` of the config.
CHECKS = {
    "roca": "was made by a smart card chip with the fault ROCA (CVE-2017-15361)",
    "fermat": "has two primes that lie close together (CVE-2022-26320)",
    "smallfactors": "is divisible by a small prime",
    "rsapoly": "has a modulus with a pattern that gives its primes away",
    "smalld": "has a small private exponent",
    "rsainvalid": "has values that no RSA key has",
    "sharedprimes": "shares a prime with a key that is known",
}
#: Larger ones are nobody's, and cost their square.
MAX_BITS = 8192


def _broken(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    for _, certificate in concerned(served, world):
        listed = _listed(certificate, world)
        if listed is not None:
            yield Problem(
                severity="page",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown}: its private key is known to others",
                text=f"The key is on a list of compromised keys ({listed}): it was made by a broken program, came with a device, "
                "or was published. Make a new key, reissue, and have the old one revoked with the reason keyCompromise.",
            )
            continue
        key = certificate.key
        if key.type != "rsa" or key.bits is None or key.bits > MAX_BITS or certificate.spki_sha256 is None:
            continue
        why = _fault(certificate.spki_sha256, _DER(certificate.der))
        if why is not None:
            yield Problem(
                severity="page",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown}: its private key can be computed from the certificate",
                text=f"The key {why}. Take the certificate for compromised: make a key with another program or device, "
                "reissue, and have the old one revoked with the reason keyCompromise.",
            )


def _listed(certificate: Certificate, world: World) -> str | None:
    known: KnownKeys | None = world.known_keys
    return None if known is None else known.find(certificate)


class _DER(bytes):
    """What the memory of keys must not tell apart: two certificates of one key."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _DER)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=65536)
def _fault(spki_sha256: bytes, der: _DER) -> str | None:
    try:
        key = x509.load_der_x509_certificate(bytes(der)).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    numbers = key.public_numbers()
    found = checkrsa(numbers.n, e=numbers.e, checks=CHECKS)
    return next((CHECKS[name] for name in CHECKS if name in found), None)


class QuantumConfig(RuleConfig):
    #: Off by default: it concerns nearly everything.
    enabled: bool = False


def _quantum(served: Served, config: QuantumConfig, world: World) -> Iterator[Problem | Until]:
    if not config.enabled:
        return
    for _, certificate in concerned(served, world):
        if certificate.key.type in ("ml-dsa", "unknown") or certificate.not_after is None:
            continue
        if certificate.not_after >= QUANTUM_END:
            yield Problem(
                severity="info",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown}: its key is to last beyond {QUANTUM_END.year - 1}",
                text="RSA and elliptic curves are to be given up by then (NIST IR 8547). Plan its successor with ML-DSA, or "
                "shorten its life.",
            )


BROKEN_KEY = Rule(
    id="key-broken",
    title="Private key can be computed, or is known",
    why="Some programs and chips made keys that are long and weak: ROCA, primes close together, small factors, patterns. "
    "Whoever sees the certificate has the key. Others are known already: Debian's weak keys of 2008, keys of devices, keys in public "
    "repositories. Of these there are lists; name them in the config: "
    "`known_keys: [/var/lib/badkeys/blocklist.dat]` (fetched by `badkeys --update-bl`), or a file with a SHA-256 of a public key a line.",
    fix="New key from another source, new certificate, revocation of the old one with keyCompromise, and a look at what "
    "else the same program or device made.",
    severity="page",
    source="CA/Browser Forum Baseline Requirements, 6.1.1.3; badkeys",
    evaluate=_broken,
)
QUANTUM = Rule(
    id="quantum-vulnerable",
    title="Key of today is to last into the age of quantum computers",
    why="A report, off by default: which certificates, roots above all, are valid beyond 2035 with a key that a quantum "
    "computer breaks. Switch it on with `quantum-vulnerable: {enabled: true}`.",
    fix="Plan their successors with ML-DSA (RFC 9881), or shorter lives.",
    severity="info",
    source="NIST IR 8547",
    evaluate=_quantum,
    Config=QuantumConfig,
)
