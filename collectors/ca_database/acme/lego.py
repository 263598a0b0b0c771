"""lego's folder: `certificates/DOMAIN.crt` with its chain, `DOMAIN.json` beside it (go-acme/lego, cmd/certs_storage.go).

When it is renewed is told to `lego renew` by whoever calls it, and stands nowhere.
"""

import os
from collections.abc import Iterator

from collectors.ca_database.acme.lineage import Lineage, lineage, listed

NEEDED = "Name lego's --path (.lego) in `path`"
_ENDING = ".crt"
#: The issuer's alone.
_ISSUER = ".issuer.crt"


def read_lego(path: str) -> Iterator[Lineage]:
    """Raises ReadFailed."""
    inside = os.path.join(path, "certificates")
    folder = inside if os.path.isdir(inside) else path
    for entry in listed(folder, NEEDED):
        if entry.name.endswith(_ENDING) and not entry.name.endswith(_ISSUER):
            yield lineage(entry.name.removesuffix(_ENDING), (os.path.join(folder, entry.name),), {})
