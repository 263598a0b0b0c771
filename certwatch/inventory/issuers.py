"""Issuers that a chain lacks, from where its certificates say that they are (AIA), as far as a collector has fetched them."""

import json
from collections.abc import Mapping, Sequence

from certwatch.inventory.served import CertificateCache, in_chunks
from certwatch.inventory.session import Session
from certwatch.model.certificate import Certificate
from certwatch.model.location import RECORD_KINDS, aia_location
from certwatch.model.sighting import Served

#: Issuers above one another that are looked up.
HIGHEST = 4


def load_issuers(
    connection: Session, cache: CertificateCache, places: Sequence[Served]
) -> Mapping[int, tuple[Certificate, ...]]:
    """By location's id; those without are absent. The caller holds a snapshot."""
    # What stands highest in each chain, and has no issuer in it.
    open_ends = {
        each.id: [end for end in each.chain if _lacks_issuer(end, each.chain)]
        for each in places
        if each.chain and each.location.kind not in RECORD_KINDS
    }
    found: dict[int, list[Certificate]] = {}
    published: dict[str, tuple[Certificate, ...]] = {}
    for _ in range(HIGHEST):
        urls = {aia_location(url) for ends in open_ends.values() for end in ends for url in end.issuer_urls}
        missing = sorted(urls - published.keys())
        if not urls:
            break
        published |= dict.fromkeys(missing, ())
        rows = in_chunks(
            connection, "SELECT uri, chain FROM locations WHERE uri IN ({}) AND retired_at IS NULL", missing
        )
        chains = {uri: json.loads(chain) for uri, chain in rows}
        certificates = cache.get(connection, {id for ids in chains.values() for id in ids})
        published |= {
            uri: tuple(certificates[id] for id in ids if id in certificates) for uri, ids in chains.items()
        }
        following: dict[int, list[Certificate]] = {}
        for place, ends in open_ends.items():
            above = [
                issuer
                for end in ends
                for url in end.issuer_urls
                for issuer in published[aia_location(url)]
                if issuer.subject_der is not None and issuer.subject_der == end.issuer_der
            ]
            new = [each for each in dict.fromkeys(above) if each not in found.get(place, ())]
            if new:
                found.setdefault(place, []).extend(new)
                following[place] = [each for each in new if not each.is_self_issued]
        open_ends = following
    return {place: tuple(each) for place, each in found.items()}


def _lacks_issuer(certificate: Certificate, chain: Sequence[Certificate]) -> bool:
    return (
        bool(certificate.issuer_urls)
        and not certificate.is_self_issued
        and all(each.subject_der != certificate.issuer_der for each in chain)
    )
