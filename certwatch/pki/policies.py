"""Certificate policies along a path (RFC 5280, 6.1.2 to 6.1.5).

As RFC 9618 has it: not a tree, which a hostile chain can make grow exponentially, but one set of nodes for the
current depth. Each node remembers only which policies of the trust anchor's domain lead to it; no more is asked for in the end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509

from certwatch.x509.tlv import Unreadable, children, expect, object_identifier

E = TypeVar("E", bound=x509.ExtensionType)

ANY = "2.5.29.32.0"
_MAPPINGS = x509.ObjectIdentifier("2.5.29.33")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDemand:
    """The inputs of 6.1.1 c to g."""

    #: Acceptable policies, dotted.
    acceptable: frozenset[str] = frozenset({ANY})
    explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False


@dataclass(slots=True)
class _Node:
    expected: set[str]
    #: The policies of the anchor's domain that it comes from.
    roots: set[str] = field(default_factory=set)


def policy_fault(path: Sequence[x509.Certificate], demand: PolicyDemand) -> int | None:
    """`path` from the leaf up to the last certificate below the anchor. Index of the certificate at which no acceptable
    policy is left though one is required. None: there is none. Raises ValueError where an extension cannot be read."""
    length = len(path)
    level: dict[str, _Node] = {ANY: _Node({ANY}, {ANY})}
    explicit = 0 if demand.explicit else length + 1
    mapping = 0 if demand.inhibit_mapping else length + 1
    inhibit_any = 0 if demand.inhibit_any else length + 1
    for index in range(length - 1, -1, -1):
        certificate = path[index]
        self_issued = certificate.subject == certificate.issuer
        last = index == 0
        level = _next_level(
            level, _policies(certificate), any_counts=inhibit_any > 0 or (self_issued and not last)
        )
        if explicit <= 0 and not level:
            return index
        constraints = _extension(certificate, x509.PolicyConstraints)
        if last:
            explicit = max(0, explicit - 1)
            if constraints is not None and constraints.require_explicit_policy == 0:
                explicit = 0
            break
        try:
            mappings = _mappings(certificate)
        except Unreadable:
            return index
        if any(ANY in pair for pair in mappings):
            return index
        _map(level, mappings, allowed=mapping > 0)
        if not self_issued:
            explicit, mapping, inhibit_any = (max(0, each - 1) for each in (explicit, mapping, inhibit_any))
        if constraints is not None:
            if constraints.require_explicit_policy is not None:
                explicit = min(explicit, constraints.require_explicit_policy)
            if constraints.inhibit_policy_mapping is not None:
                mapping = min(mapping, constraints.inhibit_policy_mapping)
        inhibit = _extension(certificate, x509.InhibitAnyPolicy)
        if inhibit is not None:
            inhibit_any = min(inhibit_any, inhibit.skip_certs)
    if explicit > 0 or _acceptable(level, demand.acceptable):
        return None
    return 0


def _next_level(
    level: dict[str, _Node], policies: frozenset[str] | None, *, any_counts: bool
) -> dict[str, _Node]:
    """6.1.3 d and e."""
    if policies is None or not level:
        return {}
    below: dict[str, _Node] = {}
    for policy in policies - {ANY}:
        parents = [node for node in level.values() if policy in node.expected]
        if parents:
            below[policy] = _Node({policy}, _roots(policy, parents, level))
        elif ANY in level:
            below[policy] = _Node({policy}, {policy})
    if ANY in policies and any_counts:
        for policy in {each for node in level.values() for each in node.expected} - below.keys():
            parents = [node for node in level.values() if policy in node.expected]
            below[policy] = _Node({policy}, _roots(policy, parents, level))
    return below


def _roots(policy: str, parents: Iterable[_Node], level: dict[str, _Node]) -> set[str]:
    return {policy if node is level.get(ANY) else root for node in parents for root in node.roots}


def _map(level: dict[str, _Node], mappings: Iterable[tuple[str, str]], *, allowed: bool) -> None:
    """6.1.4 b."""
    mapped: dict[str, set[str]] = {}
    for issuer_domain, subject_domain in mappings:
        mapped.setdefault(issuer_domain, set()).add(subject_domain)
    for policy, subjects in mapped.items():
        if not allowed:
            level.pop(policy, None)
        elif policy in level:
            level[policy].expected = subjects
        elif ANY in level:
            level[policy] = _Node(subjects, {policy})


def _acceptable(level: dict[str, _Node], wanted: frozenset[str]) -> bool:
    """6.1.5 g."""
    if ANY in wanted:
        return bool(level)
    return ANY in level or any(root in wanted for node in level.values() for root in node.roots)


def _policies(certificate: x509.Certificate) -> frozenset[str] | None:
    found = _extension(certificate, x509.CertificatePolicies)
    return None if found is None else frozenset(each.policy_identifier.dotted_string for each in found)


def _mappings(certificate: x509.Certificate) -> list[tuple[str, str]]:
    """The issuer's policies and what they are called below (RFC 5280, 4.2.1.5). Raises Unreadable."""
    try:
        value = certificate.extensions.get_extension_for_oid(_MAPPINGS).value
    except x509.ExtensionNotFound:
        return []
    pairs = []
    for _, pair in children(expect(value.public_bytes(), 0x30, "policy mappings")):
        domains = [object_identifier(each) for tag, each in children(pair) if tag == 0x06]
        if len(domains) != 2:
            raise Unreadable("a policy mapping that is no pair")
        pairs.append((domains[0], domains[1]))
    return pairs


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
