"""From the config to the source that reads it."""

import os
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from collectors.ca_database.acme.acme_sh import read_acme_sh
from collectors.ca_database.acme.caddy import read_caddy
from collectors.ca_database.acme.certbot import read_certbot
from collectors.ca_database.acme.lego import read_lego
from collectors.ca_database.acme.lineage import ACMESource, ReadLineages
from collectors.ca_database.acme.traefik import read_traefik
from collectors.ca_database.config import CADatabaseConfig
from collectors.ca_database.openssl_index import OpenSSLSource
from collectors.ca_database.record import ReadFailed, Source

#: Who reads an ACME client's files, by preset.
CLIENTS: Mapping[str, ReadLineages] = {
    "certbot": read_certbot,
    "acme.sh": read_acme_sh,
    "lego": read_lego,
    "caddy": read_caddy,
    "traefik": read_traefik,
}

if TYPE_CHECKING:
    from collectors.ca_database.sql.source import OpenTables


def make_source(config: CADatabaseConfig, now: datetime) -> Source:
    """Raises ReadFailed: what it needs is not installed."""
    if config.path is not None:
        path = os.path.abspath(os.path.expanduser(config.path))
        if config.preset in CLIENTS:
            return ACMESource(config.preset, path, CLIENTS[config.preset])
        certificates = os.path.expanduser(config.certificates) if config.certificates else None
        return OpenSSLSource(path, certificates)
    try:
        # SQLAlchemy is an extra.
        from collectors.ca_database.sql.source import SQLSource

        tables = _tables(config)
    except ModuleNotFoundError as error:
        message = f'preset {config.preset} needs {error.name}. Install it with: pip install "certwatch[sql]"'
        raise ReadFailed("other", message) from error
    assert config.url is not None  # noqa: S101 - the config was checked
    return SQLSource(
        config.url.get_secret_value(),
        tables,
        several=True,
        timeout=config.timeout,
        oldest=now - config.expired,
    )


def _tables(config: CADatabaseConfig) -> "OpenTables":
    if config.preset == "cfssl":
        from collectors.ca_database.sql.cfssl import CfsslTables

        return CfsslTables
    if config.preset == "step-ca":
        from collectors.ca_database.sql.step_ca import StepTables

        return StepTables
    if config.preset == "ejbca":
        from collectors.ca_database.sql.ejbca import EJBCATables

        return EJBCATables
    if config.preset == "boulder":
        from collectors.ca_database.sql.boulder import BoulderTables

        return BoulderTables
    from collectors.ca_database.sql.query import QueryTables

    return partial(
        QueryTables, query=config.query or "", cursor=config.cursor, pending_query=config.pending_query
    )
