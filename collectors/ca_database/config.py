"""The keys of `kind: ca-database`."""

from datetime import timedelta
from typing import Literal, get_args

from pydantic import Field, SecretStr, model_validator

from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.duration import Duration

ACMEPreset = Literal["certbot", "acme.sh", "lego", "caddy", "traefik"]
ACME_PRESETS: tuple[ACMEPreset, ...] = get_args(ACMEPreset)
FilePreset = Literal["openssl"]
SQLPreset = Literal["cfssl", "step-ca", "ejbca", "boulder", "sql"]
SQL_PRESETS: tuple[SQLPreset, ...] = get_args(SQLPreset)


class CADatabaseConfig(CollectorConfig):
    #: Whose database it is, or `sql` for any other that a query can be asked.
    preset: FilePreset | SQLPreset | ACMEPreset
    #: The CA's folder, or its index.txt. Of an ACME client: its folder; for `traefik` its acme.json.
    path: str | None = None
    #: Folder of the certificates' bodies of an `openssl` CA, if it is not newcerts or certs_by_serial beside the index.
    certificates: str | None = None
    #: Of the database, as SQLAlchemy writes it: postgresql://user:password@host/name, mysql://…, sqlite:////path.
    url: SecretStr | None = None
    #: For `sql`: a SELECT that yields `certificate` (DER or PEM) and what else it has of serial, revoked_at, reason,
    #: status, requester, profile.
    query: str | None = Field(default=None, min_length=1, max_length=20_000)
    #: For `sql`: the query's column that only grows with whatever is new or changed. Without it all is read each time.
    cursor: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
    #: For `sql`: a SELECT that yields how many requests wait, and since when the oldest does.
    pending_query: str | None = Field(default=None, min_length=1, max_length=20_000)
    #: Files with the CA's own certificates: their end is held against the lives that the CA gives.
    authorities: tuple[str, ...] = ()
    #: How often everything is read, and not what is new only.
    reconcile: Duration = timedelta(days=1)
    #: How long after its end a certificate is still taken.
    expired: Duration = timedelta(days=30)
    #: The longest that the database may work at one statement.
    timeout: Duration = timedelta(minutes=2)

    @model_validator(mode="after")
    def _fits(self) -> "CADatabaseConfig":
        needs, without = ("url", "path") if self.preset in SQL_PRESETS else ("path", "url")
        if getattr(self, needs) is None:
            raise ValueError(f"preset {self.preset} needs {needs}")
        if getattr(self, without) is not None:
            raise ValueError(f"preset {self.preset} has no {without}: it reads {needs}")
        if self.preset == "sql" and self.query is None:
            raise ValueError("preset sql needs query: a SELECT that yields a column certificate")
        if self.preset != "sql" and (self.query or self.cursor or self.pending_query):
            raise ValueError(
                f"preset {self.preset} knows what to ask: query, cursor and pending_query are for sql"
            )
        if self.certificates is not None and self.preset != "openssl":
            raise ValueError("certificates is for preset openssl")
        return self
