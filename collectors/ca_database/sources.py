"""From the config to the source that reads it."""

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from certwatch.doors.rest import Client, client_tls
from certwatch.doors.vault import AppRole, Vault
from collectors.ca_database.acme.acme_sh import read_acme_sh
from collectors.ca_database.acme.caddy import read_caddy
from collectors.ca_database.acme.certbot import read_certbot
from collectors.ca_database.acme.lego import read_lego
from collectors.ca_database.acme.lineage import ACMESource, ReadLineages
from collectors.ca_database.acme.traefik import read_traefik
from collectors.ca_database.adcs.source import ADCSSource
from collectors.ca_database.config import CADatabaseConfig
from collectors.ca_database.openssl_index import OpenSSLSource
from collectors.ca_database.record import ReadFailed, Source
from collectors.ca_database.rest.dogtag import DogtagSource
from collectors.ca_database.rest.ejbca import PATH, EJBCARestSource
from collectors.ca_database.rest.fetching import AT_ONCE
from collectors.ca_database.rest.vault import Known, VaultSource

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


def make_source(config: CADatabaseConfig, now: datetime, known: Known) -> Source:
    """`known`: what the inventory has of a serial number. Raises ReadFailed: what it needs is not installed."""
    if config.path is not None:
        return _of_files(config, os.path.abspath(os.path.expanduser(config.path)))
    assert config.url is not None  # noqa: S101 - the config was checked
    url, oldest = config.url.get_secret_value(), now - config.expired
    if config.preset == "vault":
        return VaultSource(partial(_vault, config, url), config.mount or "pki", known)
    if config.preset == "ejbca-rest":
        return EJBCARestSource(_client(config, url, PATH), oldest)
    if config.preset == "dogtag":
        return DogtagSource(_client(config, url, ""), oldest, agent=config.client_certificate is not None)
    try:
        # SQLAlchemy is an extra.
        from collectors.ca_database.sql.source import SQLSource

        tables = _tables(config)
    except ModuleNotFoundError as error:
        message = f'preset {config.preset} needs {error.name}. Install it with: pip install "certwatch[sql]"'
        raise ReadFailed("other", message) from error
    return SQLSource(url, tables, several=True, timeout=config.timeout, oldest=oldest)


def _of_files(config: CADatabaseConfig, path: str) -> Source:
    if config.preset in CLIENTS:
        return ACMESource(config.preset, path, CLIENTS[config.preset])
    if config.preset == "adcs":
        return ADCSSource(path)
    certificates = os.path.expanduser(config.certificates) if config.certificates else None
    return OpenSSLSource(path, certificates)


def _vault(config: CADatabaseConfig, url: str) -> Vault:
    """Raises RequestFailed."""
    credentials: str | AppRole | None = None
    if config.token is not None:
        credentials = config.token.get_secret_value()
    elif config.role_id is not None and config.secret_id is not None:
        credentials = AppRole(role_id=config.role_id, secret_id=config.secret_id.get_secret_value())
    return Vault(
        url,
        credentials=credentials,
        namespace=config.namespace,
        tls=client_tls(config.trust, config.client_certificate, config.client_key),
        timeout=config.timeout.total_seconds(),
        connections=AT_ONCE,
    )


def _client(config: CADatabaseConfig, url: str, path: str) -> Callable[[], Client]:
    """Raises RequestFailed when it is called."""

    def headers() -> Mapping[str, str]:
        return (
            {"authorization": f"Bearer {config.token.get_secret_value()}"} if config.token is not None else {}
        )

    def make() -> Client:
        base = url.rstrip("/")
        return Client(
            base if path and base.endswith(path) else base + path,
            headers=headers,
            tls=client_tls(config.trust, config.client_certificate, config.client_key),
            timeout=config.timeout.total_seconds(),
            connections=AT_ONCE,
        )

    return make


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
