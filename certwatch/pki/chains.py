"""A chain as it was presented: what of it leads where, without building anything that was not presented."""

from collections.abc import Mapping
from dataclasses import dataclass

from certwatch.model.certificate import Certificate
from certwatch.pki.signatures import signature
from certwatch.pki.trust import TrustStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    #: From the leaf upwards, each issued by the next, as far as what was presented goes.
    path: tuple[Certificate, ...]
    #: Where the path reaches each trust store, every signature up to there verified: index of the first certificate
    #: in it that is an anchor's own, or that an anchor issued. Stores that it does not reach are absent.
    anchored: Mapping[str, int]
    #: Certificate and issuer, presented or an anchor, whose signature nobody here can verify (an algorithm or a form
    #: that the library does not know): nothing above it counts. None: there is none.
    unverified: tuple[Certificate, Certificate] | None
    #: Certificate and presented issuer whose signature does not verify, where the path broke off. None: it did not.
    broken: tuple[Certificate, Certificate] | None
    #: Presented, but not on the path.
    superfluous: tuple[Certificate, ...]
    #: The path stands at the beginning of what was presented, in order.
    in_order: bool

    @property
    def needed(self) -> tuple[Certificate, ...]:
        """What clients depend on: the path up to the first anchor's own doing. Without any anchor, the path but for
        a root at its end, which every client has or has not by itself."""
        if self.anchored:
            return self.path[: min(self.anchored.values()) + 1]
        if len(self.path) > 1 and self.path[-1].is_self_issued:
            return self.path[:-1]
        return self.path

    @property
    def end(self) -> Certificate:
        return self.path[-1]


# The last assessment: the rules ask for the same one, one after the other. Swapped whole, so threads may race.
_last: tuple[tuple[Certificate, ...], Mapping[str, TrustStore], Assessment] | None = None


def assess(chain: tuple[Certificate, ...], trust: Mapping[str, TrustStore]) -> Assessment:
    """`chain`: as presented, leaf first, at least one."""
    global _last
    last = _last
    if last is not None and last[0] is chain and last[1] is trust:
        return last[2]
    assessment = _assess(chain, trust)
    _last = (chain, trust, assessment)
    return assessment


def _assess(chain: tuple[Certificate, ...], trust: Mapping[str, TrustStore]) -> Assessment:
    path = [chain[0]]
    rest = list(chain[1:])
    broken = unverified = None
    #: So many certificates at the beginning of the path are verified by what stands above them.
    verified = 0
    while not path[-1].is_self_issued:
        candidates = [each for each in rest if _may_issue(each, path[-1])]
        if not candidates:
            break
        # Two issuers of one name (a cross-sign, a renewed CA): the one whose signature is there counts.
        verdicts = [(each, signature(path[-1], each)) for each in candidates]
        chosen = next((each for each, verdict in verdicts if verdict == "good"), None)
        if chosen is not None:
            verified += unverified is None
        else:
            chosen = next((each for each, verdict in verdicts if verdict == "unsupported"), None)
            if chosen is None:
                broken = (path[-1], candidates[0])
                break
            unverified = unverified or (path[-1], chosen)
        path.append(chosen)
        rest.remove(chosen)
    # Only what is verified, and the one above it, can lead to an anchor.
    reachable = path[: verified + 1]
    anchored = _anchored(reachable, trust)
    on_path = {each.fingerprint_sha256 for each in path}
    return Assessment(
        path=tuple(path),
        anchored=anchored,
        broken=broken,
        unverified=None if anchored else unverified or _unverifiable_by_anchors(reachable, trust),
        superfluous=tuple(each for each in rest if each.fingerprint_sha256 not in on_path),
        in_order=tuple(path) == chain[: len(path)],
    )


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


def _anchored(path: list[Certificate], trust: Mapping[str, TrustStore]) -> dict[str, int]:
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
    path: list[Certificate], trust: Mapping[str, TrustStore]
) -> tuple[Certificate, Certificate] | None:
    for store in trust.values():
        for anchor in store.issuers_of(path[-1]):
            if signature(path[-1], anchor) == "unsupported":
                return path[-1], anchor
    return None
