"""The way to a Kubernetes API server: who one is there (access), and what one asks (client)."""

from certwatch.doors.kubernetes.access import Access, AccessError, contexts, from_kubeconfig, in_cluster
from certwatch.doors.kubernetes.client import Client, Page, RequestFailed

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
