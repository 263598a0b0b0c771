"""Envelopes: every request but the first is a JWS in flattened JSON (RFC 8555, 6.2; RFC 7515, 7.2.2)."""

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from certwatch.ca.acme.problem import Problem
from certwatch.model.shown import shown

#: A CSR with a hundred names in base64 is well below.
MAX_BODY = 128 * 1024
ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "EdDSA")

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
#: Members of a key that its thumbprint is made of (RFC 7638, 3.2; RFC 8037, 2), which are also all that is kept.
_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}

AccountKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class _Flattened(msgspec.Struct, forbid_unknown_fields=True):
    protected: str
    payload: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A public key as a client sends it."""

    #: Its members, canonical JSON (RFC 7638, 3.3).
    canonical: bytes
    public: AccountKey

    @property
    def thumbprint(self) -> bytes:
        return hashlib.sha256(self.canonical).digest()

    @property
    def members(self) -> dict[str, str]:
        return cast("dict[str, str]", msgspec.json.decode(self.canonical))


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Read, not yet believed: see `verified`."""

    algorithm: str
    url: str
    nonce: str | None
    #: Exactly one of the two is there.
    key: Key | None
    kid: str | None
    #: None: POST-as-GET (RFC 8555, 6.3).
    payload: bytes | None
    #: header.payload.signature
    compact: str

    def verified(self, key: AccountKey) -> None:
        """Raises Problem unless `key` signed it."""
        check_algorithm(self.algorithm, key)
        try:
            jwt.PyJWS().decode_complete(self.compact, cast("Any", key), algorithms=[self.algorithm])
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Problem(
                "malformed", "the signature of the request does not verify with the key it names"
            ) from error

    def object(self) -> dict[str, Any]:
        """The payload as a JSON object; POST-as-GET has none. Raises Problem."""
        return parse_object(self.payload if self.payload is not None else b"", "the payload")


def decode(text: object, what: str) -> bytes:
    """base64url without padding (RFC 7515, 2). Raises Problem."""
    if not isinstance(text, str) or _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        raise Problem("malformed", f"{what} is not base64url without padding")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise Problem("malformed", f"{what} is not JSON") from error
    if not isinstance(found, dict):
        raise Problem("malformed", f"{what} is not a JSON object")
    return found


def parse(body: bytes | Mapping[str, Any], *, inner: bool = False) -> Envelope:
    """One from the network, or `inner`: one inside of another (a change of keys), which has no nonce (RFC 8555, 7.3.5).
    Raises Problem."""
    try:
        outer = (
            msgspec.json.decode(body, type=_Flattened)
            if isinstance(body, bytes)
            else msgspec.convert(body, _Flattened)
        )
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise Problem(
            "malformed", "the request is not a JWS in flattened JSON: protected, payload, signature"
        ) from error
    header = parse_object(decode(outer.protected, "protected"), "the protected header")
    payload = decode(outer.payload, "payload")
    decode(outer.signature, "signature")
    algorithm, url, nonce = header.get("alg"), header.get("url"), header.get("nonce")
    if algorithm not in ALGORITHMS:
        raise Problem(
            "badSignatureAlgorithm",
            f"the request is signed with {shown(str(algorithm))[:40]}: {', '.join(ALGORITHMS)} are taken",
            members={"algorithms": list(ALGORITHMS)},
        )
    if header.keys() & {"crit", "b64"}:
        raise Problem("malformed", "the protected header asks for an extension of JWS: none is known here")
    if not isinstance(url, str):
        raise Problem("malformed", "the protected header has no url")
    if inner:
        if nonce is not None:
            raise Problem("malformed", "the inner JWS has a nonce: it must not (RFC 8555, 7.3.5)")
    elif not isinstance(nonce, str) or _BASE64URL.fullmatch(nonce) is None:
        raise Problem("malformed", "the protected header has no nonce, or one that is not base64url")
    jwk, kid = header.get("jwk"), header.get("kid")
    if (jwk is None) == (kid is None) or not isinstance(kid, str | None):
        raise Problem(
            "malformed", "the protected header has either jwk or kid, and this one has both or neither"
        )
    return Envelope(
        algorithm=algorithm,
        url=url,
        nonce=nonce,
        key=None if jwk is None else load_key(jwk),
        kid=kid,
        payload=payload if outer.payload else None,
        compact=f"{outer.protected}.{outer.payload}.{outer.signature}",
    )


def load_key(jwk: object) -> Key:
    """Raises Problem "badPublicKey"."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kty"), str) or jwk["kty"] not in _MEMBERS:
        raise Problem("badPublicKey", "the key is not a public key of type EC, RSA or OKP")
    if "d" in jwk:
        raise Problem("badPublicKey", "the key holds its private part. It is burnt: make another one")
    members = {name: jwk.get(name) for name in _MEMBERS[jwk["kty"]]}
    if not all(isinstance(value, str) and len(value) <= 2048 for value in members.values()):
        raise Problem("badPublicKey", f"the key lacks one of {', '.join(members)}")
    try:
        public = jwt.PyJWK.from_dict(members, algorithm=_algorithm_of(members)).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise Problem("badPublicKey", "the key cannot be read") from error
    if isinstance(public, rsa.RSAPublicKey):
        exponent = public.public_numbers().e
        if not 2048 <= public.key_size <= 4096 or exponent < 65537 or exponent.bit_length() > 64:
            raise Problem("badPublicKey", "an RSA key has 2048 to 4096 bits and exponent 65537 here")
    elif not isinstance(public, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        raise Problem(
            "badPublicKey", "the key is of a kind that is not taken: P-256, P-384, P-521, RSA, Ed25519"
        )
    return Key(canonical=msgspec.json.encode(members, order="sorted"), public=public)


def _algorithm_of(members: Mapping[str, Any]) -> str:
    by_curve = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
    return "RS256" if members["kty"] == "RSA" else by_curve[str(members["crv"])]


def check_algorithm(algorithm: str, key: AccountKey) -> None:
    """The algorithm is the key's own. Raises Problem."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve = _CURVES.get(algorithm)
        fits = curve is not None and isinstance(key.curve, curve)
    elif isinstance(key, rsa.RSAPublicKey):
        fits = algorithm == "RS256"
    else:
        fits = algorithm == "EdDSA"
    if not fits:
        raise Problem("badSignatureAlgorithm", f"{algorithm} is not the algorithm of the key")


def same_key(key: AccountKey, of_certificate: CertificatePublicKeyTypes) -> bool:
    return _spki(key) == _spki(of_certificate)


def _spki(key: Any) -> bytes:
    return cast(
        "bytes",
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def verify_binding(binding: object, key: Key, url: str, secret: bytes) -> None:
    """An external account binding (RFC 8555, 7.3.4): the account's key, signed with the shared secret. Raises Problem."""
    if not isinstance(binding, dict):
        raise Problem("malformed", "externalAccountBinding is not a JWS")
    try:
        outer = msgspec.convert(binding, _Flattened)
    except msgspec.MsgspecError as error:
        raise Problem("malformed", "externalAccountBinding is not a JWS in flattened JSON") from error
    header = parse_object(decode(outer.protected, "protected"), "the header of externalAccountBinding")
    if header.get("alg") not in ("HS256", "HS384", "HS512") or header.get("url") != url or "nonce" in header:
        raise Problem(
            "malformed", "externalAccountBinding has alg HS256 to HS512, the url of newAccount and no nonce"
        )
    try:
        jwt.PyJWS().decode_complete(
            f"{outer.protected}.{outer.payload}.{outer.signature}", secret, algorithms=[str(header["alg"])]
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Problem(
            "unauthorized", "externalAccountBinding does not verify: kid and HMAC key do not belong together"
        ) from error
    if load_key(parse_object(decode(outer.payload, "payload"), "the key")).canonical != key.canonical:
        raise Problem("malformed", "externalAccountBinding is of another key than the account's")


def binding_kid(binding: object) -> str:
    """Raises Problem."""
    protected = binding.get("protected") if isinstance(binding, dict) else None
    header = parse_object(decode(protected, "protected"), "the header of externalAccountBinding")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise Problem("malformed", "externalAccountBinding names no kid")
    return kid
