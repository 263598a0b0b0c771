"""Server certificates in IAM, which cannot be overwritten: a new one is uploaded under another name, the load balancers that use
the former one are given it, and the former one is deleted when none does any more.

Nothing is remembered here: the new one's name says which one it follows and which certificate it is, so that after a crash both
are found."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.plugins.deployer import DeployFailed, Material
from certwatch.remediation.deployers.aws.access import HOME, AWSConfig, ask, pages, split
from certwatch.remediation.deployers.aws.listeners import Listener, give, listener_at, users
from certwatch.remediation.deployers.aws.place import Place
from certwatch.remediation.deployers.former import not_as_planned
from certwatch.x509.der import read
from certwatch.x509.pem import blocks

#: Of a name in IAM.
LONGEST_NAME = 128
#: Behind the former name: the beginning of the new certificate's SHA-256.
_SUFFIX = re.compile(r"-certwatch-([0-9a-f]{16})$")
_SUFFIX_LENGTH = len("-certwatch-") + 16
#: IAM serves CloudFront from this path alone.
_CLOUDFRONT = "/cloudfront/"
#: Looks at whether a load balancer still has what it was just told to give up; seconds between two.
_LOOKS, _PAUSE = 3, 2.0
#: Looks at whether IAM lists what it took.
_LISTINGS = 30


def base_of(name: str) -> str:
    """What names of one certificate and of those that follow it have in common, and no others."""
    base = _SUFFIX.sub("", name)
    longest = LONGEST_NAME - _SUFFIX_LENGTH
    if len(base) <= longest:
        return base
    return f"{base[: longest - 9]}-{sha256(base.encode()).hexdigest()[:8]}"


def name_after(name: str, new: Fingerprint) -> str:
    return f"{base_of(name)}-certwatch-{new.hex()[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A server certificate, as IAM has it."""

    name: str
    arn: str
    path: str
    uploaded: datetime
    #: DER, leaf first.
    chain: tuple[bytes, ...]
    tags: tuple[dict[str, str], ...] = field(default=())

    @property
    def fingerprint(self) -> Fingerprint | None:
        """None: IAM has no certificate there that can be read."""
        return read(self.chain[0]).fingerprint_sha256 if self.chain else None


def followers(family: Sequence[Held], former: Held) -> list[Held]:
    """What roll-outs have uploaded in its place, the newest first. What was uploaded before it is of earlier ones."""
    found = []
    for each in family:
        named = _SUFFIX.search(each.name)
        if named is None or each.name == former.name or each.uploaded < former.uploaded:
            continue
        if each.fingerprint is not None and each.fingerprint.hex().startswith(named[1]):
            found.append(each)
    return sorted(found, key=lambda each: (each.uploaded, each.name), reverse=True)


class _Store:
    """IAM of one account. Blocking; all raise DeployFailed."""

    def __init__(self, account: Any, place: Place, config: AWSConfig) -> None:
        self._account = account
        self._regions = config.regions
        self._place = place
        self._iam = account.client("iam", HOME)

    def _family(self, name: str) -> list[Held]:
        """With this one, if it is there."""
        found = []
        for page in pages(self._iam, "ListServerCertificates"):
            for each in page.get("ServerCertificateMetadataList", ()):
                if base_of(str(each["ServerCertificateName"])) == base_of(name):
                    held = self._get(str(each["ServerCertificateName"]))
                    if held is not None:
                        found.append(held)
        return found

    def _get(self, name: str) -> Held | None:
        try:
            said = ask(self._iam, "GetServerCertificate", ServerCertificateName=name)["ServerCertificate"]
        except DeployFailed as error:
            if error.kind == "not-found":
                return None
            raise
        about = said["ServerCertificateMetadata"]
        pem = f"{said['CertificateBody']}\n{said.get('CertificateChain') or ''}".encode()
        return Held(
            name=str(about["ServerCertificateName"]),
            arn=str(about["Arn"]),
            path=str(about["Path"]),
            uploaded=about.get("UploadDate") or datetime.min.replace(tzinfo=UTC),
            chain=tuple(each.data for each in blocks(pem) if each.is_certificate and each.data),
            tags=tuple(said.get("Tags", ())),
        )

    def _upload(self, family: Sequence[Held], former: Held, material: Material) -> Held:
        """As it is, if it is there already."""
        if former.path.startswith(_CLOUDFRONT):
            raise DeployFailed(
                "other", f"is used by CloudFront (its path is {former.path}), which must be changed by hand"
            )
        new = material.certificate.fingerprint_sha256
        name = name_after(former.name, new)
        there = next((each for each in family if each.name == name), None) or self._get(name)
        if there is None:
            leaf, *above = (each.decode() for each in split(material.chain_pem))
            more: dict[str, Any] = {"CertificateChain": "".join(above)} if above else {}
            if former.tags:
                more["Tags"] = list(former.tags)
            ask(
                self._iam,
                "UploadServerCertificate",
                Path=former.path,
                ServerCertificateName=name,
                CertificateBody=leaf,
                PrivateKey=material.key_pem.decode(),
                **more,
            )
            # IAM lists it some seconds later; until then `undo` would not find it, so that nothing is given to anybody.
            there = self._listed(former.name, name)
        if there.fingerprint != new:
            raise DeployFailed("changed", f"IAM has another certificate under the name {name}")
        return there

    def _listed(self, former: str, name: str) -> Held:
        for _ in range(_LISTINGS):
            found = _named(self._family(former), name)
            if found is not None:
                return found
            time.sleep(_PAUSE)
        raise DeployFailed("unavailable", f"IAM took {name} and does not list it", again=True)

    def _give(self, listeners: Sequence[Listener], away: Sequence[Held], to: Held) -> None:
        for each in listeners:
            try:
                give(self._account, each, [it.arn for it in away], to.arn)
            except DeployFailed as error:
                raise DeployFailed(error.kind, f"load balancer {each}: {error.message}") from error

    def _drop(self, unused: Sequence[Held]) -> None:
        """Never what a load balancer has: AWS would let it be deleted, and the load balancer would fail later."""
        if not unused:
            return
        arns = [each.arn for each in unused]
        for look in range(_LOOKS):
            using = users(self._account, self._regions, arns)
            if not using:
                break
            if look + 1 == _LOOKS:
                raise DeployFailed("other", f"{unused[0].name} is kept: {using[0]} uses it")
            time.sleep(_PAUSE)
        self._delete(unused)

    def _drop_unused(self, held: Sequence[Held]) -> None:
        using = users(self._account, self._regions, [each.arn for each in held]) if held else ()
        used = frozenset().union(*(each.certificates for each in using))
        self._delete([each for each in held if each.arn not in used])

    def _delete(self, unused: Sequence[Held]) -> None:
        for each in unused:
            try:
                ask(self._iam, "DeleteServerCertificate", ServerCertificateName=each.name)
            except DeployFailed as error:
                if error.kind != "not-found":
                    raise


class Stored(_Store):
    """A place of IAM: whatever uses the certificate goes with it."""

    def present(self, former: Certificate) -> tuple[bytes, ...]:
        """What has followed it, if something has."""
        family = self._family(self._place.id)
        own = _named(family, self._place.id)
        if own is None:
            return ()
        following = followers(family, own)
        return following[0].chain if following else own.chain

    def deploy(self, former: Certificate, material: Material) -> None:
        family = self._family(self._place.id)
        own = _named(family, self._place.id)
        if own is None:
            raise DeployFailed("not-found", "is not in IAM any more")
        if own.fingerprint != former.fingerprint_sha256:
            raise not_as_planned()
        new = self._upload(family, own, material)
        # Of roll-outs that a crash ended: their keys are lost, what they uploaded serves all the same.
        before = [each for each in followers(family, own) if each.name != new.name]
        away = [own, *before]
        self._give(users(self._account, self._regions, [each.arn for each in away]), away, new)
        self._drop(before)

    def undo(self, former: Certificate) -> None:
        family = self._family(self._place.id)
        own = _named(family, self._place.id)
        if own is None:
            raise DeployFailed("not-found", "is not in IAM any more: the new one stays")
        following = followers(family, own)
        if not following:
            return
        self._give(users(self._account, self._regions, [each.arn for each in following]), following, own)
        self._drop(following)

    def forget(self, former: Certificate) -> None:
        family = self._family(self._place.id)
        own = _named(family, self._place.id)
        # Also called after `undo`: without one that follows, it is what is in use.
        if own is not None and own.fingerprint == former.fingerprint_sha256 and followers(family, own):
            self._drop([own])


class AtListener(_Store):
    """A load balancer's listener, which goes before the others or after them."""

    def present(self, former: Certificate) -> tuple[bytes, ...]:
        held = self._get(_name_of(self._current(self._listener())))
        return held.chain if held is not None else ()

    def deploy(self, former: Certificate, material: Material) -> None:
        listener = self._listener()
        current = self._current(listener)
        family = self._family(_name_of(current))
        own = _of(family, former, current)
        following = followers(family, own) if own is not None else []
        if own is None or current not in (own.arn, *(each.arn for each in following)):
            raise DeployFailed(
                "changed", "has another certificate than the one that was planned to go. Plan it anew"
            )
        new = self._upload(family, own, material)
        self._give([listener], [own, *(each for each in following if each.name != new.name)], new)

    def undo(self, former: Certificate) -> None:
        listener = self._listener()
        current = self._current(listener)
        family = self._family(_name_of(current))
        own = _of(family, former, current)
        if own is None:
            raise DeployFailed(
                "not-found", "its former certificate is not in IAM any more: the new one stays"
            )
        following = followers(family, own)
        self._give([listener], following, own)
        # The certificate's own place may not be in the plan, or its turn had not come.
        self._drop_unused(following)

    def forget(self, former: Certificate) -> None:
        current = self._current(self._listener())
        family = self._family(_name_of(current))
        own = _of(family, former, current)
        # Also called after `undo`: then it is what is in use.
        if own is not None and current in [each.arn for each in followers(family, own)]:
            self._drop_unused([own])

    def _listener(self) -> Listener:
        it = self._place
        return listener_at(self._account, it.service, it.region, it.balancer, it.port)

    def _current(self, listener: Listener) -> str:
        """ARN of what it has now."""
        if not self._place.part:
            found: str | None = listener.default
        else:
            wanted = base_of(self._place.part)
            found = next((each for each in listener.others if base_of(_name_of(each)) == wanted), None)
        if not found or ":iam:" not in found:
            raise DeployFailed("changed", "has no certificate of IAM any more. Plan it anew")
        return found


def _named(family: Sequence[Held], name: str) -> Held | None:
    return next((each for each in family if each.name == name), None)


def _of(family: Sequence[Held], former: Certificate, preferred: str) -> Held | None:
    found = [each for each in family if each.fingerprint == former.fingerprint_sha256]
    return next((each for each in found if each.arn == preferred), found[0] if found else None)


def _name_of(arn: str) -> str:
    return arn.rpartition("/")[2]
