"""Names as table `names` holds them: without the kind, lower-case, spelt backwards."""

from certwatch.inventory.text import storable
from certwatch.model.certificate import Certificate


def reversed_names(certificate: Certificate) -> set[str]:
    return {reverse(name.partition(":")[2]) for name in certificate.names}


def reverse(name: str) -> str:
    return storable(name).lower()[::-1]
