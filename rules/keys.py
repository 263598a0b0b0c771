"""Keys and signatures: one that is not its own, ones that are too weak."""

from collections.abc import Iterator

from pydantic import Field

from certwatch.model.certificate import Certificate, PublicKey
from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import concerned


class WeakKeyConfig(RuleConfig):
    #: Smallest RSA modulus in bits.
    rsa: int = Field(default=2048, ge=512)
    #: Smallest elliptic curve field in bits.
    ec: int = Field(default=224, ge=100)


def _mismatch(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    if served.leaf is None or served.facts.get("key_match") is not False:
        return
    yield Problem(
        severity="ticket",
        fingerprint=served.leaf.fingerprint_sha256,
        summary=f"{served.leaf.shown}: the private key beside it is another certificate's",
        text="A server that loads the two refuses to start, or to reload: what runs goes on with the old pair until "
        "its next start. Put the key that this certificate was requested with beside it, or reissue.",
    )


def weakness(key: PublicKey, config: WeakKeyConfig) -> str | None:
    """Why a key is too weak. None: it is not, or its size is not known."""
    if key.type == "dsa":
        return "DSA keys are no longer accepted by anyone"
    if key.type == "rsa" and key.bits is not None and key.bits < config.rsa:
        return f"an RSA key of {key.bits} bits, less than {config.rsa}"
    if key.type == "rsa" and key.exponent is not None and (key.exponent < 65537 or key.exponent % 2 == 0):
        return f"an RSA key with the exponent {key.exponent}"
    if key.type == "ec" and key.bits is not None and key.bits < config.ec:
        return f"an elliptic curve of {key.bits} bits, less than {config.ec}"
    return None


def _weak_key(served: Served, config: WeakKeyConfig, world: World) -> Iterator[Problem | Until]:
    for _, certificate in concerned(served, world):
        why = weakness(certificate.key, config)
        if why is not None:
            yield Problem(
                severity="ticket",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown} has a weak key: {why}",
                text="Clients refuse weak keys one release after another, and an attacker need not wait for them. "
                "Make a new key (EC P-256, or RSA of 2048 bits and more) and reissue.",
            )


def _weak_signature(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    for _, certificate in concerned(served, world):
        # Nobody verifies what a root says of itself: it is trusted by being in the store.
        if not certificate.is_self_issued and _is_broken(certificate):
            yield Problem(
                severity="ticket",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.shown} is signed with {certificate.signature_algorithm}",
                text="Collisions of this hash can be made, so a second certificate with the same signature can be. "
                "Clients refuse it. Reissue it with SHA-256 or better; if the CA cannot, replace the CA.",
            )


def _is_broken(certificate: Certificate) -> bool:
    algorithm = certificate.signature_algorithm.lower()
    return any(weak in algorithm for weak in ("md2", "md5", "sha1"))


MISMATCH = Rule(
    id="key-mismatch",
    title="Private key does not belong to the certificate",
    why="The certificate's public key and the private key beside it are not a pair. Nothing shows until the server is "
    "started or reloaded; then it does not come up. The key is compared in memory and kept nowhere.",
    fix="Put the right key in place, or reissue with this one. See it: compare `openssl x509 -noout -pubkey -in "
    "CERTIFICATE` with `openssl pkey -pubout -in KEY`.",
    severity="ticket",
    source="RFC 8446, 4.4.3",
    evaluate=_mismatch,
)

WEAK_KEY = Rule(
    id="weak-key",
    title="Key is too weak",
    why="RSA below 2048 bits, curves below 224 bits, DSA and small exponents are within an attacker's reach or "
    "refused by clients. CAs in a trust store are not judged.",
    fix="Make a new key and reissue: `openssl ecparam -name prime256v1 -genkey -noout -out new.key`.",
    severity="ticket",
    source="CA/Browser Forum Baseline Requirements, 6.1.5; NIST SP 800-57",
    evaluate=_weak_key,
    Config=WeakKeyConfig,
)

WEAK_SIGNATURE = Rule(
    id="weak-signature",
    title="Signature is made with a broken hash",
    why="MD5 and SHA-1 have collisions. A root's signature on itself does not count.",
    fix="Reissue with SHA-256 or better.",
    severity="ticket",
    source="RFC 6194; CA/Browser Forum Baseline Requirements, 7.1.3.2",
    evaluate=_weak_signature,
)
