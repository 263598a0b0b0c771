"""The keys of `kind: ca-database`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, get_args

from pydantic import Field, SecretStr, model_validator

from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.duration import Duration

FilePreset = Literal["openssl", "adcs"]
ACMEPreset = Literal["certbot", "acme.sh", "lego", "caddy", "traefik"]
SQLPreset = Literal["cfssl", "step-ca", "ejbca", "boulder", "sql"]
RESTPreset = Literal["vault", "ejbca-rest", "dogtag"]
FILE_PRESETS: tuple[str, ...] = (*get_args(FilePreset), *get_args(ACMEPreset))
SQL_PRESETS: tuple[str, ...] = get_args(SQLPreset)

#: Keys that belong to some presets only.
_OWN: Mapping[str, tuple[str, ...]] = {
    "certificates": ("openssl",),
    "query": ("sql",),
    "cursor": ("sql",),
    "pending_query": ("sql",),
    "mount": ("vault",),
    "namespace": ("vault",),
    "role_id": ("vault",),
    "secret_id": ("vault",),
    "token": ("vault", "ejbca-rest"),
    "trust": get_args(RESTPreset),
    "client_certificate": get_args(RESTPreset),
    "client_key": get_args(RESTPreset),
}


class CADatabaseConfig(CollectorConfig):
    #: Whose database it is, or `sql` for any other that a query can be asked.
    preset: FilePreset | SQLPreset | RESTPreset | ACMEPreset
    #: The CA's folder, or its index.txt. For `adcs` a CSV of certutil's, or a folder of them. Of an ACME client: its
    #: folder; for `traefik` its acme.json.
    path: str | None = None
    #: Folder of the certificates' bodies of an `openssl` CA, if it is not newcerts or certs_by_serial beside the index.
    certificates: str | None = None
    #: Of the database, as SQLAlchemy writes it: postgresql://user:password@host/name, mysql://…, sqlite:////path. Of a
    #: CA that is asked over HTTP: https://host:port.
    url: SecretStr | None = None
    #: For `sql`: a SELECT that yields `certificate` (DER or PEM) and what else it has of serial, revoked_at, reason,
    #: status, requester, profile.
    query: str | None = Field(default=None, min_length=1, max_length=20_000)
    #: For `sql`: the query's column that only grows with whatever is new or changed. Without it all is read each time.
    cursor: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
    #: For `sql`: a SELECT that yields how many requests wait, and since when the oldest does.
    pending_query: str | None = Field(default=None, min_length=1, max_length=20_000)
    #: For `vault`: where the PKI secrets engine is mounted.
    mount: str | None = Field(default=None, min_length=1, max_length=500)
    #: For `vault`: the namespace that the mount is in.
    namespace: str | None = Field(default=None, min_length=1, max_length=500)
    #: For `vault` and `ejbca-rest`: a token.
    token: SecretStr | None = None
    #: For `vault`: an AppRole instead of a token.
    role_id: str | None = None
    secret_id: SecretStr | None = None
    #: Over HTTP: file of the server's own CA. None: what this system trusts.
    trust: str | None = None
    #: Over HTTP: files of the certificate and key to log in with.
    client_certificate: str | None = None
    client_key: str | None = None
    #: Files with the CA's own certificates: their end is held against the lives that the CA gives.
    authorities: tuple[str, ...] = ()
    #: How often everything is read, and not what is new only.
    reconcile: Duration = timedelta(days=1)
    #: How long after its end a certificate is still taken.
    expired: Duration = timedelta(days=30)
    #: The longest that the database may work at one statement, or a server at one answer.
    timeout: Duration = timedelta(minutes=2)

    @model_validator(mode="after")
    def _fits(self) -> "CADatabaseConfig":
        if self.preset == "step-ca" and self.path is not None:
            raise ValueError(
                "step-ca's own badger or bbolt database is open to step-ca alone, and cannot be read beside it. Let step-ca "
                'write to PostgreSQL or MySQL ("db": {"type": "postgresql", …} in its ca.json), and give url'
            )
        needs, without = ("path", "url") if self.preset in FILE_PRESETS else ("url", "path")
        if getattr(self, needs) is None:
            raise ValueError(f"preset {self.preset} needs {needs}")
        if getattr(self, without) is not None:
            raise ValueError(f"preset {self.preset} has no {without}: it reads {needs}")
        if self.preset == "sql" and self.query is None:
            raise ValueError("preset sql needs query: a SELECT that yields a column certificate")
        for key, presets in _OWN.items():
            if getattr(self, key) is not None and self.preset not in presets:
                raise ValueError(f"{key} is for preset {' and '.join(presets)}, not for {self.preset}")
        if (self.role_id is None) != (self.secret_id is None):
            raise ValueError("role_id and secret_id belong together")
        if self.token is not None and self.role_id is not None:
            raise ValueError("a token, or role_id and secret_id: not both")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key belongs to client_certificate")
        return self
