"""Names as table `names` holds them: without the kind, lower-case, spelt backwards."""

from certwatch.inventory.text import storable
from certwatch.model.certificate import Certificate


def reversed_names(certificate: Certificate) -> set[str]:
    return {reverse(name.partition(":")[2]) for name in certificate.names}


#: Of a name: an entry of PostgreSQL's b-trees has 2,704 bytes. No host's name is longer than 255.
_LONGEST = 600


def reverse(name: str) -> str:
    """Of one that is too long, its end."""
    return storable(name).lower()[::-1][:_LONGEST]
