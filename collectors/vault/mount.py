"""One PKI mount: its issuers, how it is set up, what it issued and revoked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote

from certwatch.doors.rest import RequestFailed
from certwatch.doors.vault import Issued, Issuer, Vault
from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Incomplete, LookError, Observation
from certwatch.model.sighting import Served
from certwatch.plugins.view import InventoryView
from certwatch.x509 import der, pem
from collectors.ca_database.places import record_location, record_prefix
from collectors.ca_database.record import rfc3339, serial_of_hex
from collectors.ca_database.rest.fetching import fetched

#: Of one mount.
MOST_ISSUERS = 1000
#: Serial numbers of certificates that ended long ago, of one mount.
_MOST_ENDED = 1_000_000
_LONGEST = 200


def setup_scope(mount: str) -> str:
    return mount


def issued_scope(mount: str) -> str:
    return f"issued:{mount}"


@dataclass(slots=True, kw_only=True)
class Mount:
    vault: Vault
    #: The path that it is mounted at, without slashes around it.
    path: str
    #: The collector's own name.
    collector: str
    labels: dict[str, str]
    clock: Clock
    view: InventoryView | None
    #: How long after its end a certificate is still taken.
    expired: timedelta
    #: Serial numbers of what ended before that: they are not asked for again.
    ended: set[str] = field(default_factory=set)

    def setup(self) -> Iterator[Observation | Incomplete]:
        """The mount itself, and its issuers. Raises RequestFailed."""
        issuers = self.vault.issuers(self.path)[:MOST_ISSUERS]
        facts: dict[str, Fact] = {"vault_issuers": len(issuers)}
        default = next((each for each in issuers if each.is_default), None)
        if default is not None:
            facts["vault_default_issuer"] = default.name or default.id
        for read in (self._revocation, self._tidy):
            try:
                facts |= read()
            except RequestFailed as failed:
                # The issuers are worth having without it.
                error = LookError(kind=failed.kind, message=self.told(failed))
                yield Incomplete(scope=f"{self.path}/{read.__name__.strip('_')}", error=error)
        yield self._look((), (), facts)
        for issuer in issuers:
            yield self._issuer(issuer)

    def _revocation(self) -> dict[str, Fact]:
        """Raises RequestFailed."""
        urls = self.vault.distribution(self.path)
        setup = self.vault.revocation_setup(self.path)
        return {
            "ca_publishes_revocation": bool(urls.crl or urls.ocsp),
            "vault_crl_urls": " ".join(urls.crl)[:1000],
            "vault_ocsp_urls": " ".join(urls.ocsp)[:1000],
            "vault_crl": setup.crl,
            "vault_crl_expiry": setup.crl_expiry,
            "vault_crl_auto_rebuild": setup.crl_auto_rebuild,
            "vault_ocsp": setup.ocsp,
        }

    def _tidy(self) -> dict[str, Fact]:
        """Raises RequestFailed."""
        tidy = self.vault.tidy(self.path)
        facts: dict[str, Fact] = {"vault_tidy_automatic": tidy.automatic}
        if tidy.automatic:
            facts["vault_tidy_interval"] = tidy.interval_seconds
        if tidy.state and tidy.state != "Running":
            facts["vault_tidy_state"] = tidy.state[:_LONGEST]
        if tidy.error:
            facts["vault_tidy_error"] = tidy.error[:_LONGEST]
        if tidy.finished_at:
            facts["vault_tidied_at"] = tidy.finished_at[:_LONGEST]
        return facts

    def _issuer(self, issuer: Issuer) -> Observation:
        chain = _certificates(issuer.certificate)
        error = None
        if not chain:
            message = (
                f"{self.collector}: {self.path}: issuer {issuer.id[:80]} has no certificate that can be read"
            )
            error = LookError(kind="malformed", message=message)
        facts: dict[str, Fact] = {"vault_default": issuer.is_default, "vault_has_key": issuer.has_key}
        if not issuer.has_key:
            # It is there for chains alone: nothing is issued by it any more, or here.
            facts["in_use"] = False
        if issuer.name:
            facts["vault_issuer"] = issuer.name[:_LONGEST]
        return self._look(("issuer", issuer.id), chain, facts, error)

    def _look(
        self,
        path: tuple[str, ...],
        chain: tuple[bytes, ...],
        facts: dict[str, Fact],
        error: LookError | None = None,
    ) -> Observation:
        steps = (quote(self.path, safe="/"), *(quote(each, safe="") for each in path))
        return Observation(
            location=LocationURI(f"vault://{quote(self.collector, safe='')}/{'/'.join(steps)}"),
            observed_at=self.clock(),
            chain=chain,
            facts={} if error is not None else facts,
            labels=self.labels,
            error=error,
            scope=setup_scope(self.path),
        )

    def issued(self) -> Iterator[Observation]:
        """Each certificate that the mount keeps; only what the inventory does not know is fetched. Raises RequestFailed."""
        revoked = set(self.vault.serials(self.path, revoked=True))
        wanted: list[str] = []
        for serial in dict.fromkeys((*self.vault.serials(self.path), *sorted(revoked))):
            known = self._known(serial)
            if known is not None and known.facts.get("ca_status") == _status(serial in revoked):
                if not self._long_ended(known.chain[0].not_after if known.chain else None):
                    yield self._again(known)
            elif serial not in self.ended:
                wanted.append(serial)
        for serial, issued in fetched(wanted, lambda each: self.vault.certificate(self.path, each)):
            seen = self._record(serial, issued) if issued is not None else None
            if seen is not None:
                yield seen

    def _record(self, serial: str, issued: Issued) -> Observation | None:
        """None: it ended long ago."""
        chain = _certificates(issued.certificate)[:1]
        if chain and self._long_ended(der.read(chain[0]).not_after):
            if len(self.ended) < _MOST_ENDED:
                self.ended.add(serial)
            return None
        error = None
        if not chain:
            message = f"{self.collector}: {self.path}: certificate {serial[:80]} cannot be read"
            error = LookError(kind="malformed", message=message)
        facts: dict[str, Fact] = {"ca_status": _status(issued.revoked_at is not None)}
        if issued.revoked_at is not None:
            facts["revoked_at"] = rfc3339(issued.revoked_at)
        return Observation(
            location=self._place(serial),
            observed_at=self.clock(),
            chain=chain,
            facts=facts,
            labels=self.labels,
            error=error,
            scope=issued_scope(self.path),
        )

    def _again(self, known: Served) -> Observation:
        return Observation(
            location=known.location.uri,
            observed_at=self.clock(),
            chain=tuple(each.der for each in known.chain),
            facts=known.facts,
            labels=self.labels,
            scope=issued_scope(self.path),
        )

    def _known(self, serial: str) -> Served | None:
        if self.view is None:
            return None
        found = self.view.served(self._place(serial))
        return found if found is not None and found.retired_at is None and found.error is None else None

    def _long_ended(self, not_after: datetime | None) -> bool:
        return not_after is not None and not_after < self.clock() - self.expired

    def _place(self, serial: str) -> LocationURI:
        number = serial_of_hex(serial.replace("-", ":")) or quote(serial[:_LONGEST], safe="")
        return record_location(record_prefix(self.collector), number, quote(self.path, safe=""), "")

    def told(self, failed: RequestFailed) -> str:
        what = ". Give its token the policy in deploy/vault/policy.hcl" if failed.status == 403 else ""
        return f"{self.collector}: mount {self.path}: {failed.message}{what}"


def _status(revoked: bool) -> str:
    return "revoked" if revoked else "issued"


def _certificates(text: str) -> tuple[bytes, ...]:
    return tuple(each.data for each in pem.blocks(text.encode()) if each.is_certificate and each.data)
