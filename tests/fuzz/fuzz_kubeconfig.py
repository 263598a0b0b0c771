"""kubeconfig."""

from certwatch.x509 import kubeconfig
from tests.x509.test_kubeconfig import CONFIG


def seeds() -> list[bytes]:
    return [
        CONFIG,
        b"apiVersion: v1\nkind: Config\nclusters:\n- {name: a, cluster: {certificate-authority: a.pem}}\n",
    ]


def TestOneInput(data: bytes) -> None:
    kubeconfig.looks_like(data)
    kubeconfig.read(data)
