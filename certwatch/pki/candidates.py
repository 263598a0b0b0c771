"""The ways from a leaf to a trust store by names alone, before any signature is looked at.

OpenSSL takes the first issuer that fits and does not turn back. Where a CA has several certificates (cross-signed, renewed, two
roots with one key), another way may hold where its own does not.
"""

from collections.abc import Iterator, Sequence

from certwatch.model.certificate import Certificate
from certwatch.pki.trust import TrustStore

#: A hostile server presents a hundred CAs of one name: so many ways are looked at, and no longer ones.
MOST = 32
LONGEST = 12
#: Steps of the search; a bound of its own, since most of them may lead nowhere.
MOST_STEPS = 2_000


def candidate_paths(
    leaf: Certificate, others: Sequence[Certificate], trust: TrustStore
) -> Iterator[tuple[Certificate, ...]]:
    """Each from the leaf to the last certificate below an anchor (or an anchor's twin), shortest first. At most
    `MOST`."""
    by_subject: dict[bytes, list[Certificate]] = {}
    for each in others:
        if each.subject_der is not None and each not in by_subject.setdefault(each.subject_der, []):
            by_subject[each.subject_der].append(each)
    queue: list[tuple[Certificate, ...]] = [(leaf,)]
    found = steps = 0
    while queue and steps < MOST_STEPS and found < MOST:
        path = queue.pop(0)
        steps += 1
        end = path[-1]
        if end in trust or trust.issuers_of(end):
            found += 1
            yield path
        if len(path) >= LONGEST or (end.is_self_issued and len(path) > 1 and end in trust):
            continue
        queue.extend(
            (*path, each)
            for each in by_subject.get(end.issuer_der or b"", ())
            # One key under one name once: a second time would be a loop, whatever its certificate.
            if all((each.subject_der, each.spki_sha256) != (one.subject_der, one.spki_sha256) for one in path)
        )
