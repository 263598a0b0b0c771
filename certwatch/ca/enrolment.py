"""One-time enrolment tokens: a JWT (RFC 7519) that lets who has no certificate yet ask for the one that it names.

Signed by a key of its own in the CA's folder. It ends soon, it is used once, and what it is for stands in it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certwatch.ca.audit_rows import ENROLMENT_KEPT_SECONDS
from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.key_file import write_new
from certwatch.ca.names import checked
from certwatch.ca.profiles import profile_named

AUDIENCE = "certwatch-ca"
LONGEST = timedelta(days=7)
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    id: str
    requester: str
    profile: str
    #: What may be asked for; no more, and not less.
    names: tuple[str, ...]
    ends: datetime
    #: Who granted it. Empty: an older one does not say.
    by: str = ""

    @property
    def submitter(self) -> str:
        return f"token:{self.id}"


def _key(directory: Path, *, create: bool) -> Ed25519PrivateKey:
    path = directory / "enrolment.key"
    try:
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    except FileNotFoundError:
        if not create:
            raise CAError("refused", "the enrolment token is not one of this CA") from None
    except (OSError, ValueError) as error:
        raise CAError("other", f"{path}: the key of enrolment tokens cannot be read") from error
    key = Ed25519PrivateKey.generate()
    write_new(path, key.private_bytes_raw())
    return key


def _jwt() -> Any:
    try:
        import jwt
    except ImportError as error:
        raise CAError(
            "other", 'enrolment tokens need PyJWT. Install it: pip install "certwatch[ca]"'
        ) from error
    return jwt


def grant(
    authority: Authority,
    *,
    requester: str,
    profile: str,
    names: Sequence[str],
    lifetime: timedelta,
    person: str,
) -> str:
    """The token, which is in the ledger without what makes it valid. Raises CAError."""
    if not timedelta(seconds=1) <= lifetime <= LONGEST:
        raise CAError("usage", f"an enrolment token lives for at most {LONGEST.days} days")
    if not requester or len(requester) > 200 or not requester.isprintable():
        raise CAError("usage", "for whom? A requester has 1 to 200 printable characters")
    profile_named(authority.settings.profiles, profile)
    wanted = checked(names)
    id = secrets.token_hex(8)
    now = authority.clock()
    claims = {
        "aud": AUDIENCE,
        "jti": id,
        "sub": requester,
        "profile": profile,
        "names": wanted,
        "by": person,
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
    }
    token: str = _jwt().encode(claims, _key(authority.settings.directory, create=True), algorithm="EdDSA")
    with authority.act() as act:
        act.append(
            "enrolment",
            [{"id": id, "requester": requester, "profile": profile, "names": wanted, "by": person}],
        )
    return token


def read(authority: Authority, token: str) -> Enrolment:
    """Whether it was used is not asked here. Raises CAError "refused"."""
    if len(token) > MAX_BYTES:
        raise CAError("refused", "the enrolment token is longer than any")
    jwt = _jwt()
    key = _key(authority.settings.directory, create=False).public_key()
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            audience=AUDIENCE,
            # By the CA's own clock, below.
            options={
                "require": ["jti", "sub", "exp", "profile", "names"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        enrolment = Enrolment(
            id=str(claims["jti"]),
            requester=str(claims["sub"]),
            profile=str(claims["profile"]),
            names=tuple(str(each) for each in claims["names"]),
            ends=datetime.fromtimestamp(int(claims["exp"]), authority.clock().tzinfo),
            by=str(claims.get("by", "")),
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise CAError("refused", "the enrolment token is not one of this CA") from error
    if authority.clock() >= enrolment.ends:
        raise CAError("refused", "the enrolment token has ended. Have a new one made: certwatch ca enrol")
    return enrolment


def use(authority: Authority, enrolment: Enrolment) -> None:
    """From now on it is used, whatever becomes of the request. Raises CAError "refused": it was before."""
    now = authority.clock()
    with authority.act() as act:
        ends = int(enrolment.ends.timestamp())
        act.connection.execute(
            "DELETE FROM enrolments WHERE ends < ?", (int(now.timestamp()) - ENROLMENT_KEPT_SECONDS,)
        )
        taken = act.connection.execute(
            "INSERT OR IGNORE INTO enrolments VALUES (?, ?)", (enrolment.id, ends)
        ).rowcount
        if not taken:
            raise CAError("refused", "the enrolment token was used already: each is good for one request")
        act.append("enrolled", [{"id": enrolment.id, "requester": enrolment.requester, "ends": ends}])
