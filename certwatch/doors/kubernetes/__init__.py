"""The way to a Kubernetes API server: who one is there (access), what one asks (client), and what keeps it from answering
(failure)."""

from certwatch.doors.kubernetes.access import Access, AccessError, contexts, from_kubeconfig, in_cluster
from certwatch.doors.kubernetes.client import Client, Page
from certwatch.doors.kubernetes.failure import RequestFailed

__all__ = [
    "Access",
    "AccessError",
    "Client",
    "Page",
    "RequestFailed",
    "contexts",
    "from_kubeconfig",
    "in_cluster",
]
