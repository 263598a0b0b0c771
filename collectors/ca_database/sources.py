"""From the config to the source that reads it."""

import os
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from collectors.ca_database.config import CADatabaseConfig
from collectors.ca_database.openssl_index import OpenSSLSource
from collectors.ca_database.record import ReadFailed, Source

if TYPE_CHECKING:
    from collectors.ca_database.sql.source import OpenTables


def make_source(config: CADatabaseConfig, now: datetime) -> Source:
    """Raises ReadFailed: what it needs is not installed."""
    if config.path is not None:
        path = os.path.abspath(os.path.expanduser(config.path))
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
