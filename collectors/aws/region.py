"""One region of one account, while it is looked at: clients, tags, what was learnt on the way."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock
from typing import Any
from urllib.parse import quote

from certwatch.doors.aws import Account, AWSError, Client
from certwatch.model.clock import Clock
from certwatch.model.observation import Fact, LookError, Observation
from certwatch.model.sighting import Served
from certwatch.x509 import der, pem
from collectors.aws.config import AWSConfig
from collectors.aws.known import Known
from collectors.aws.place import GLOBAL, labels_of, location, name_of, scope

Chain = tuple[bytes, ...]
#: Chains that are kept for those that use them.
_CHAINS = 2000
#: CAs' certificates are in nearly every chain: each is kept once.
_SHARED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A certificate of a store, for what uses it."""

    chain: Chain = ()
    #: Why it cannot be had: whoever uses it still does. None: it can.
    error: LookError | None = None


@dataclass(slots=True)
class Uses:
    """Who uses certificates that are not of one region (IAM's). Filled by many threads."""

    lock: Lock = field(default_factory=Lock)
    by_certificate: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: Somewhere could not be looked: that nobody was seen to use one says nothing.
    incomplete: bool = False

    def add(self, certificate: str, user: str) -> None:
        with self.lock:
            self.by_certificate[certificate].add(user)


@dataclass(slots=True, kw_only=True)
class Region:
    """Owned by one thread."""

    account: Account
    #: "eu-west-1"; "global" for what is of no region.
    name: str
    #: The region that is asked.
    asked: str
    config: AWSConfig
    clock: Clock
    now: datetime
    known: Known
    uses: Uses
    #: The collector's own name.
    collector: str
    #: Given to every location of the account.
    account_labels: Mapping[str, str] = field(default_factory=dict)
    #: By ARN. None: they could not be had.
    tags: Mapping[str, Mapping[str, str]] | None = None
    #: Handed over between scans: what is worth remembering, by any key.
    memory: dict[Any, Any] = field(default_factory=dict)
    _clients: dict[tuple[str, str], Client] = field(default_factory=dict)
    _held: dict[str, Held] = field(default_factory=dict)
    _shared: dict[bytes, bytes] = field(default_factory=dict)

    def client(self, service: str, region: str | None = None) -> Client:
        """Raises AWSError."""
        key = (service, region or self.asked)
        if key not in self._clients:
            self._clients[key] = self.account.client(*key)
        return self._clients[key]

    @property
    def stopped(self) -> Event:
        """Set when nobody waits any more."""
        return self.account.stopped

    def close(self) -> None:
        for each in self._clients.values():
            each.close()
        self._clients.clear()

    def look(
        self,
        service: str,
        *path: str,
        arn: str,
        part: str = "",
        chain: Chain = (),
        facts: Mapping[str, Fact | None] | None = None,
        error: LookError | None = None,
        tags: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        has_certificate: bool = False,
    ) -> Observation:
        """`tags`: as the service itself said; None: as the region's listing says. `labels`: instead of what tags say.
        `has_certificate`: without a chain it is one that cannot be read, and not none."""
        uri = location(self.account.id, self.name, service, *path, part=part)
        if has_certificate and not chain and error is None:
            error = LookError(kind="malformed", message=f"{uri}: AWS gave no certificate that can be read")
        given = {name: value for name, value in (facts or {}).items() if value is not None}
        return Observation(
            location=uri,
            observed_at=self.clock(),
            chain=chain,
            facts={"aws_arn": arn, **given},
            error=error,
            labels=labels if labels is not None else self._labels(uri, arn, tags),
            scope=scope(self.account.id, self.name, service),
        )

    def again(self, service: str, served: Served, arn: str) -> Observation:
        """What is known, seen once more; its tags may be others."""
        uri = served.location.uri
        return Observation(
            location=uri,
            observed_at=self.clock(),
            chain=tuple(each.der for each in served.chain),
            facts=served.facts,
            labels=self._labels(uri, arn, None),
            scope=scope(self.account.id, self.name, service),
        )

    def _labels(self, uri: Any, arn: str, tags: Mapping[str, str] | None) -> dict[str, str]:
        base = {**self.account_labels, "account": self.account.id, "region": self.name}
        if tags is None and self.tags is None:
            # Nobody loses his certificates because tags cannot be read for a while.
            served = self.known.served(uri)
            return {**(served.location.labels if served is not None else {}), **base}
        found = tags if tags is not None else (self.tags or {}).get(arn, {})
        return {**labels_of(found, self.config.owner_tags, self.config.tag_labels), **base}

    def chain(self, *texts: str | None) -> Chain:
        """PEM in one tuple, leaf first. A certificate that comes twice (the chain may repeat it) is taken once."""
        found: list[bytes] = []
        for text in texts:
            found += [
                each.data for each in pem.blocks((text or "").encode()) if each.is_certificate and each.data
            ]
        return tuple(self._share(each, index) for index, each in enumerate(dict.fromkeys(found)))

    def _share(self, certificate: bytes, index: int) -> bytes:
        if index == 0:
            return certificate
        if len(self._shared) >= _SHARED:
            self._shared.clear()
        return self._shared.setdefault(certificate, certificate)

    def keep(self, arn: str, chain: Chain) -> None:
        """For those that use it."""
        self._hold(arn, Held(chain=chain))

    def held(self, arn: str) -> Held:
        """Of a certificate in ACM or IAM. Without ARN: nothing is."""
        if not arn:
            return Held()
        found = self._held.get(arn)
        if found is None:
            try:
                chain = self._fetched(arn)
            except AWSError as error:
                found = Held(error=error.error)
            else:
                unreadable = (
                    f"{self.account.where}/{self.name}: {arn}: AWS gave no certificate that can be read"
                )
                found = Held(
                    chain=chain, error=None if chain else LookError(kind="malformed", message=unreadable)
                )
            self._hold(arn, found)
        return found

    def _hold(self, arn: str, held: Held) -> None:
        if len(self._held) >= _CHAINS:
            self._held.clear()
        self._held[arn] = held

    def _fetched(self, arn: str) -> Chain:
        parts = arn.split(":")
        if len(parts) < 6:
            return ()
        region, name = parts[3], name_of(arn)
        if parts[2] == "acm":
            served = self.known.served(location(self.account.id, region, "acm", name))
            if served is not None and served.chain:
                return tuple(each.der for each in served.chain)
            answer = self.client("acm", region).call("GetCertificate", CertificateArn=arn)
            return self.chain(answer.get("Certificate"), answer.get("CertificateChain"))
        if parts[2] == "iam":
            served = self.known.served(location(self.account.id, GLOBAL, "iam", name))
            if served is not None and served.chain:
                return tuple(each.der for each in served.chain)
            found = self.client("iam", self.config.home_region).call(
                "GetServerCertificate", ServerCertificateName=name
            )["ServerCertificate"]
            return self.chain(found.get("CertificateBody"), found.get("CertificateChain"))
        return ()

    def used(self, certificate: str, user: str) -> None:
        if ":iam:" in certificate:
            self.uses.add(certificate, user)


def targets(
    host: str, port: int, chain: Chain = (), names: Iterable[str] = (), protocol: str = ""
) -> dict[str, Fact]:
    """Where it is served, for the `tls` collector: at `host`, asked for one of `names`, else for a name of the certificate.
    `protocol`: STARTTLS."""
    host = host.lower().rstrip(".")
    known = list(names)
    if not known and chain:
        known = [each.partition(":")[2] for each in der.read(chain[0]).names if each.startswith("dns:")]
    name = next((each.lower() for each in known if each and "*" not in each and each.isprintable()), "")
    if protocol:
        return {"tls_targets": f"{host}:{port}/{protocol}"}
    if name and name != host:
        return {"tls_targets": f"tls://{host}:{port}/?sni={quote(name, safe='.-')}"}
    return {"tls_targets": f"{host}:{port}"}
