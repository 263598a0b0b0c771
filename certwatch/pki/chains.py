"""A chain as it was presented: what of it leads where, without building anything that was not presented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from certwatch.model.certificate import Certificate
from certwatch.pki.openssl import MAX_DEPTH, Purpose
from certwatch.pki.signatures import signature
from certwatch.pki.trust import TrustStore
from certwatch.pki.verdict import Fault, Question, Verdict, judge

#: Longer paths are nobody's: as OpenSSL is told.
LONGEST = MAX_DEPTH
#: Of one name that are tried as issuer of one certificate.
MOST_CANDIDATES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    #: From the leaf upwards, each issued by the next, as far as what was presented goes.
    path: tuple[Certificate, ...]
    #: Where the path reaches each trust store, every signature up to there verified: index of the first certificate
    #: in it that is an anchor's own, or that an anchor issued. Stores that it does not reach are absent.
    anchored: Mapping[str, int]
    #: Stores that accept it now, in their order: "by the corporate one, not by the public one".
    accepted_by: tuple[str, ...]
    #: It leads to a store by its signatures, and yet no store accepts it now: why the first one does not.
    fault: Fault | None
    #: Certificate and issuer, presented or an anchor, whose signature nobody here can verify (an algorithm or a form
    #: that the library does not know): nothing above it counts. None: there is none.
    unverified: tuple[Certificate, Certificate] | None
    #: Certificate and presented issuer whose signature does not verify, where the path broke off. None: it did not.
    broken: tuple[Certificate, Certificate] | None
    #: Presented, but not on the path.
    superfluous: tuple[Certificate, ...]
    #: The path stands at the beginning of what was presented, in order.
    in_order: bool
    # See `needed_of`; threads may race, both find the same.
    _needed_of: list[tuple[tuple[int, Certificate], ...]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @property
    def needed(self) -> tuple[Certificate, ...]:
        """What clients depend on: the path up to the first anchor's own doing. Without any anchor, the path but for
        a root at its end, which every client has or has not by itself."""
        if self.anchored:
            return self.path[: min(self.anchored.values()) + 1]
        if len(self.path) > 1 and self.path[-1].is_self_issued:
            return self.path[:-1]
        return self.path

    def needed_of(self, chain: Sequence[Certificate]) -> tuple[tuple[int, Certificate], ...]:
        """Position and certificate of what is needed, each once. `chain`: as it was presented, the same at each call: ten rules
        ask for it, one after the other."""
        known = self._needed_of
        if not known:
            needed = {each.fingerprint_sha256 for each in self.needed}
            first: dict[bytes, tuple[int, Certificate]] = {}
            for index, each in enumerate(chain):
                if each.fingerprint_sha256 in needed:
                    first.setdefault(each.fingerprint_sha256, (index, each))
            known.append(tuple(first.values()))
        return known[0]

    @property
    def end(self) -> Certificate:
        return self.path[-1]


def purpose_at(kind: str) -> Purpose:
    """By the kind of location: what is presented at an endpoint is a server's; what lies in a file may be anybody's."""
    return "server" if kind == "tls" else "any"


# The last assessment: the rules ask for the same one, one after the other. Swapped whole, so threads may race.
_last: tuple[tuple[Certificate, ...], Mapping[str, TrustStore], datetime, Purpose, Assessment] | None = None


def assess(
    chain: tuple[Certificate, ...], trust: Mapping[str, TrustStore], now: datetime, purpose: Purpose
) -> Assessment:
    """`chain`: as presented, leaf first, at least one."""
    global _last
    last = _last
    if last is not None and last[0] is chain and last[1] is trust and last[2:4] == (now, purpose):
        return last[4]
    assessment = _assess(chain, trust, now, purpose)
    _last = (chain, trust, now, purpose, assessment)
    return assessment


def _assess(
    chain: tuple[Certificate, ...], trust: Mapping[str, TrustStore], now: datetime, purpose: Purpose
) -> Assessment:
    accepted_by, way, fault = _accepted_way(chain, trust, now, purpose)
    climb = _climb(way or chain[:1], [each for each in chain[1:] if each not in way])
    path = climb.path
    # Only what is verified, and the one above it, can lead to an anchor.
    reachable = path[: climb.verified + 1]
    anchored = _anchored(reachable, trust)
    on_path = {each.fingerprint_sha256 for each in path}
    return Assessment(
        path=path,
        anchored=anchored,
        accepted_by=accepted_by,
        fault=fault if anchored and not way else None,
        broken=climb.broken,
        unverified=None if anchored else climb.unverified or _unverifiable_by_anchors(reachable, trust),
        superfluous=tuple(each for each in climb.rest if each.fingerprint_sha256 not in on_path),
        in_order=path == chain[: len(path)],
    )


def by_store(
    chain: tuple[Certificate, ...], trust: Mapping[str, TrustStore], now: datetime, purpose: Purpose
) -> dict[str, Verdict]:
    """What each store says of it, for people: the path that holds, or the reason and the certificate at fault."""
    return {name: _remembered(chain, store, now, purpose) for name, store in trust.items()}


def _accepted_way(
    chain: tuple[Certificate, ...], trust: Mapping[str, TrustStore], now: datetime, purpose: Purpose
) -> tuple[tuple[str, ...], tuple[Certificate, ...], Fault | None]:
    """The stores that accept it; what was presented of the shortest path that one of them does. Empty: none does; then why
    the first one that knows a name in it refuses."""
    ways: dict[str, tuple[Certificate, ...]] = {}
    fault: Fault | None = None
    presented = set(chain)
    for name, store in trust.items():
        if not any(each in store or store.issuers_of(each) for each in chain):
            continue
        verdict = _remembered(chain, store, now, purpose)
        if verdict.fault is None:
            below = verdict.path[:-1] or verdict.path
            ways[name] = tuple(each for each in below if each in presented)
        else:
            fault = fault or verdict.fault
    return (tuple(ways), min(ways.values(), key=len), None) if ways else ((), (), fault)


def _remembered(
    chain: tuple[Certificate, ...], store: TrustStore, now: datetime, purpose: Purpose
) -> Verdict:
    """The verdict changes only where a validity begins or ends."""
    begin, end = _unchanging(chain, store, now)
    return _judged(tuple(each.der for each in chain), store, purpose, begin, end, _Asked(chain, now))


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What the memory of verdicts must not tell apart: the same chain, another instant of the same span."""

    chain: tuple[Certificate, ...]
    now: datetime

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=16384)
def _judged(
    ders: tuple[bytes, ...],
    store: TrustStore,
    purpose: Purpose,
    begin: datetime | None,
    end: datetime | None,
    asked: _Asked,
) -> Verdict:
    return judge(asked.chain[0], asked.chain[1:], store, asked.now, Question(purpose=purpose))


def _unchanging(
    chain: tuple[Certificate, ...], store: TrustStore, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """The last instant before, and the first after now, at which a certificate that may matter begins or ends to be
    valid. None: there is none."""
    begin = end = None
    for each in (*chain, *(anchor for one in chain for anchor in store.issuers_of(one))):
        for instant in (each.not_before, each.not_after):
            if instant is None:
                continue
            # The last second is still inside (RFC 5280, 4.1.2.5).
            if instant < now or (instant == now and instant is each.not_before):
                begin = instant if begin is None or instant > begin else begin
            else:
                end = instant if end is None or instant < end else end
    return begin, end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climb:
    path: tuple[Certificate, ...]
    rest: tuple[Certificate, ...]
    #: So many certificates at the beginning of the path are verified by what stands above them.
    verified: int
    broken: tuple[Certificate, Certificate] | None
    unverified: tuple[Certificate, Certificate] | None


def _climb(begun: tuple[Certificate, ...], others: list[Certificate]) -> _Climb:
    """From a beginning that is verified, up through what else was presented."""
    path, rest = list(begun), list(others)
    broken = unverified = None
    verified = len(path) - 1
    while not path[-1].is_self_issued and len(path) < LONGEST:
        candidates = _candidates(path[-1], rest)
        if not candidates:
            break
        # Two issuers of one name (a cross-sign, a renewed CA): the one whose signature is there counts.
        chosen = next((each for each in candidates if signature(path[-1], each) == "good"), None)
        if chosen is not None:
            verified += unverified is None
        else:
            chosen = next((each for each in candidates if signature(path[-1], each) == "unsupported"), None)
            if chosen is None:
                broken = (path[-1], candidates[0])
                break
            unverified = unverified or (path[-1], chosen)
        path.append(chosen)
        rest.remove(chosen)
    return _Climb(path=tuple(path), rest=tuple(rest), verified=verified, broken=broken, unverified=unverified)


def _candidates(certificate: Certificate, rest: list[Certificate]) -> list[Certificate]:
    """Those whose key it names first: a server may present a hundred of one name, and each costs a signature."""
    found = [each for each in rest if _may_issue(each, certificate)]
    wanted = certificate.authority_key_id
    if wanted is not None and len(found) > 1:
        found.sort(key=lambda each: each.subject_key_id != wanted)
    return found[:MOST_CANDIDATES]


def _may_issue(issuer: Certificate, certificate: Certificate) -> bool:
    if issuer.subject_der is None or issuer.subject_der != certificate.issuer_der:
        return False
    # A certificate that is no CA issues nothing, whatever it has signed (RFC 5280, 6.1.4 k). Roots of version 1 have
    # no extensions to say so with.
    if not issuer.is_ca and not issuer.is_self_issued:
        return False
    both = issuer.subject_key_id, certificate.authority_key_id
    # Key identifiers are hints (RFC 5280, 4.2.1.1): they choose between two of one name, absent ones decide nothing.
    return None in both or both[0] == both[1]


def _anchored(path: Sequence[Certificate], trust: Mapping[str, TrustStore]) -> dict[str, int]:
    """Verified alone counts: a signature that cannot be verified is one that anyone can have written."""
    found: dict[str, int] = {}
    for name, store in trust.items():
        for index, certificate in enumerate(path):
            if certificate in store or any(
                signature(certificate, anchor) == "good" for anchor in store.issuers_of(certificate)
            ):
                found[name] = index
                break
    return found


def _unverifiable_by_anchors(
    path: Sequence[Certificate], trust: Mapping[str, TrustStore]
) -> tuple[Certificate, Certificate] | None:
    for store in trust.values():
        for anchor in store.issuers_of(path[-1]):
            if signature(path[-1], anchor) == "unsupported":
                return path[-1], anchor
    return None
