"""cert-manager's objects: whether what it looks after is ready, when it renews, why it last failed."""

import msgspec

from certwatch.model.observation import Fact
from collectors.kubernetes.objects import Tree, at, decode, string
from collectors.kubernetes.place import Place, location
from collectors.kubernetes.reading import Read, Reading
from collectors.kubernetes.trees import ready

_LONGEST = 300


def certificate(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    tree = decode(item, Tree)
    secret = string(tree.spec, "secretName")
    attempts = at(tree.status, "failedIssuanceAttempts")
    facts: dict[str, Fact] = {
        **_readiness(tree),
        "kubernetes_secret": f"{tree.metadata.namespace}/{secret}" if secret else None,
        "kubernetes_issuer": _issuer(tree),
        "kubernetes_renewal_at": string(tree.status, "renewalTime")[:_LONGEST] or None,
        "kubernetes_not_after": string(tree.status, "notAfter")[:_LONGEST] or None,
        "kubernetes_last_failure_at": string(tree.status, "lastFailureTime")[:_LONGEST] or None,
        "kubernetes_failed_attempts": attempts if isinstance(attempts, int) and attempts else None,
    }
    return _one("certificate", tree, facts, reading)


def request(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """No place of its own: what it brought is in the Secret. Its outcome is counted."""
    tree = decode(item, Tree)
    conditions = at(tree.status, "conditions")
    state = ready(conditions)
    outcome = ""
    if string(state, "status") == "True":
        outcome = "issued"
    elif string(ready(conditions, "Denied"), "status") == "True":
        outcome = "denied"
    elif (
        string(state, "reason") == "Failed" or string(ready(conditions, "InvalidRequest"), "status") == "True"
    ):
        outcome = "failed"
    return Read(meta=tree.metadata, outcome=outcome)


def issuer(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    return _issuing("issuer", item, reading)


def cluster_issuer(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    return _issuing("clusterissuer", item, reading)


def _issuing(kind: str, item: bytes | msgspec.Raw, reading: Reading) -> Read:
    tree = decode(item, Tree)
    secret = string(tree.spec, "ca", "secretName")
    facts: dict[str, Fact] = {**_readiness(tree), "kubernetes_secret": secret or None}
    return _one(kind, tree, facts, reading)


def _readiness(tree: Tree) -> dict[str, Fact]:
    state = ready(at(tree.status, "conditions"))
    if state is None:
        # Nobody has looked at it yet, or nobody ever does: cert-manager is not running.
        return {"kubernetes_ready": False, "kubernetes_reason": "no Ready condition"}
    is_ready = string(state, "status") == "True"
    return {
        "kubernetes_ready": is_ready,
        "kubernetes_reason": None if is_ready else _line(string(state, "reason")) or None,
        "kubernetes_message": None if is_ready else _line(string(state, "message")) or None,
        "kubernetes_not_ready_since": None
        if is_ready
        else string(state, "lastTransitionTime")[:_LONGEST] or None,
    }


def _issuer(tree: Tree) -> str | None:
    name = string(tree.spec, "issuerRef", "name")
    return f"{string(tree.spec, 'issuerRef', 'kind') or 'Issuer'}/{name}"[:_LONGEST] if name else None


def _line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text[:_LONGEST])


def _one(kind: str, tree: Tree, facts: dict[str, Fact], reading: Reading) -> Read:
    meta = tree.metadata
    shown = {name: value for name, value in facts.items() if value is not None}
    place = Place(location=location(reading.cluster, meta.namespace, kind, meta.name), facts=shown)
    return Read(meta=meta, places=(place,))
