"""From the config to the source that reads it."""

import os

from collectors.ca_database.config import CADatabaseConfig
from collectors.ca_database.openssl_index import OpenSSLSource
from collectors.ca_database.record import ReadFailed, Source


def make_source(config: CADatabaseConfig) -> Source:
    """Raises ReadFailed: what it needs is not installed."""
    if config.path is not None:
        path = os.path.abspath(os.path.expanduser(config.path))
        if config.preset == "openssl":
            certificates = os.path.expanduser(config.certificates) if config.certificates else None
            return OpenSSLSource(path, certificates)
    raise ReadFailed("other", f"preset {config.preset} is not known")
