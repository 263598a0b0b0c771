"""What an `Authority` needs to know, from the config or from the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from certwatch.ca.certificate import Addresses
from certwatch.ca.people import People, people_of
from certwatch.ca.profiles import BUILT_IN, Profile, profiles_of
from certwatch.config.ca import AcmeKeys, CaKeys, ProfileKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class CASettings:
    directory: Path
    #: Where new keys are made: a token's URI or "file:/path". None: nobody said.
    key_place: str | None = None
    more_tokens: tuple[str, ...] = ()
    addresses: Addresses = field(default_factory=lambda: Addresses(url="", partitions=1))
    profiles: Mapping[str, Profile] = field(default_factory=lambda: BUILT_IN)
    crl_lifetime: timedelta = timedelta(days=7)
    crl_every: timedelta = timedelta(days=1)
    crl_delta: bool = False
    #: How long an answer of the OCSP responder holds.
    ocsp_lifetime: timedelta = timedelta(hours=4)
    lint: bool = True
    #: host:port for relying parties, and for requesters by TLS. None: no such listener.
    listen: str | None = None
    listen_tls: str | None = None
    #: Names in the listener's certificate. Empty: see `own_certificate.names_for`.
    hostnames: tuple[str, ...] = ()
    #: Requesters (as their client certificates name them) who may approve and revoke.
    admins: tuple[str, ...] = ()
    #: Requesters who may read the ledger's entries over HTTP.
    auditors: tuple[str, ...] = ()
    #: Names that are one person's: see `people.people_of`.
    people: People = field(default_factory=dict)
    #: None: no ACME.
    acme: AcmeKeys | None = None


def settings_of(keys: CaKeys, profiles: Mapping[str, ProfileKeys], directory: Path) -> CASettings:
    """Raises CAError "usage"."""
    return CASettings(
        directory=directory,
        key_place=keys.token or (f"file:{Path(keys.key_file).absolute()}" if keys.key_file else None),
        more_tokens=tuple(keys.more_tokens),
        addresses=Addresses(
            url=keys.url,
            partitions=keys.crl_partitions,
            most_in_partition=keys.crl_partition_size,
            has_responder=keys.listen is not None,
        ),
        profiles=profiles_of(profiles),
        crl_lifetime=keys.crl_lifetime,
        crl_every=keys.crl_every,
        crl_delta=keys.crl_delta,
        ocsp_lifetime=keys.ocsp_lifetime,
        lint=keys.lint,
        listen=keys.listen,
        listen_tls=keys.listen_tls,
        hostnames=tuple(keys.hostnames),
        admins=tuple(keys.admins),
        auditors=tuple(keys.auditors),
        people=people_of(keys.people),
        acme=keys.acme,
    )
