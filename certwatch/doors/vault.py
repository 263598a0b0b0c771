"""Vault's and OpenBao's PKI secrets engine over HTTP: what a mount has issued and revoked, its issuers, where it publishes.

Blocking, for threads; one client may be used by several at once. Paths and fields: "PKI secrets engine (API)" of either.
"""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from certwatch.doors.rest import Client, RequestFailed, decoded_as

T = TypeVar("T")

#: Serial numbers of one page, of a server that has pages (OpenBao). Vault sends all of them.
PAGE = 10_000
#: A list of five million serial numbers.
MAX_LIST_BYTES = 512 << 20
#: A folder of secrets.
MAX_NAMES_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRole:
    role_id: str
    secret_id: str
    #: Where it is mounted below auth/.
    mount: str = "approle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    #: PEM.
    certificate: str
    #: Aware UTC. None: it is not revoked.
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    #: PEM.
    certificate: str
    #: PEM each: its issuer, and what is above that.
    above: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    id: str
    #: Empty: it has none.
    name: str
    #: PEM.
    certificate: str
    #: Issues what names no issuer.
    is_default: bool = False
    #: The mount has its key, and not only its certificate.
    has_key: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationSetup:
    crl: bool
    #: How long a CRL holds, as Vault writes it: "72h".
    crl_expiry: str
    #: The CRL is made anew before it ends, and not only when something is revoked.
    crl_auto_rebuild: bool
    ocsp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidy:
    """Whether what has ended is removed, and how the last time went."""

    automatic: bool
    interval_seconds: int
    #: "Inactive", "Running", "Finished", "Error" …
    state: str
    #: Empty: there was none.
    error: str
    #: RFC 3339. Empty: never since the server began.
    finished_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """URLs that the mount writes into what it issues."""

    crl: tuple[str, ...]
    ocsp: tuple[str, ...]


class _Certificate(msgspec.Struct):
    certificate: str
    revocation_time: int = 0


class _Keys(msgspec.Struct):
    # None: what Go writes for an empty list.
    keys: list[str] | None = None
    key_info: dict[str, dict[str, object]] | None = None


class _Issuer(msgspec.Struct):
    certificate: str = ""
    issuer_name: str = ""


class _URLs(msgspec.Struct):
    crl_distribution_points: list[str] | None = None
    ocsp_servers: list[str] | None = None


class _CRL(msgspec.Struct):
    disable: bool = False
    expiry: str = ""
    auto_rebuild: bool = False
    ocsp_disable: bool = False


class _AutoTidy(msgspec.Struct):
    enabled: bool = False
    interval_duration: int = 0


class _TidyStatus(msgspec.Struct):
    state: str | None = None
    error: str | None = None
    time_finished: str | None = None


class _Mount(msgspec.Struct):
    type: str = ""


class _Auth(msgspec.Struct):
    client_token: str = ""


class _Login(msgspec.Struct):
    auth: _Auth


class _Signed(msgspec.Struct):
    certificate: str
    issuing_ca: str = ""
    ca_chain: list[str] | None = None


class _Envelope(msgspec.Struct):
    data: msgspec.Raw


class Vault:
    """`with` it. Its methods raise RequestFailed."""

    def __init__(
        self,
        url: str,
        *,
        credentials: str | AppRole | None,
        namespace: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 30.0,
        connections: int = 8,
    ) -> None:
        """`credentials`: a token, or what one is got for. None: only what needs no token can be had."""
        self._role = credentials if isinstance(credentials, AppRole) else None
        self._token = credentials if isinstance(credentials, str) else None
        self._namespace = namespace
        # Guards the token: several threads find out at once that it has ended.
        self._login = threading.Lock()
        self._client = Client(
            url.rstrip("/") + "/v1", headers=self._headers, tls=tls, timeout=timeout, connections=connections
        )
        self.where = self._client.where

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def _headers(self) -> dict[str, str]:
        headers = {"x-vault-request": "true"}
        if self._token is not None:
            headers["x-vault-token"] = self._token
        if self._namespace is not None:
            headers["x-vault-namespace"] = self._namespace
        return headers

    def _get(self, path: str, params: Mapping[str, str] | None = None, *, max_bytes: int = 16 << 20) -> bytes:
        return self._with_token(lambda: self._client.get(path, params, max_bytes=max_bytes))

    def _with_token(self, ask: Callable[[], bytes]) -> bytes:
        if self._role is not None and self._token is None:
            self._get_token(None)
        token = self._token
        try:
            return ask()
        except RequestFailed as failed:
            if failed.status != 403 or self._role is None:
                raise
        # The token may have come to its end.
        self._get_token(token)
        return ask()

    def _get_token(self, ended: str | None) -> None:
        role = self._role
        assert role is not None  # noqa: S101
        with self._login:
            if self._token != ended:
                return  # another thread was quicker
            self._token = None
            said = self._client.post(
                f"/auth/{quote(role.mount.strip('/'))}/login",
                {"role_id": role.role_id, "secret_id": role.secret_id},
            )
            self._token = decoded_as(said, _Login, self.where).auth.client_token

    def data(
        self, path: str, kind: type[T], params: Mapping[str, str] | None = None, *, max_bytes: int = 16 << 20
    ) -> T:
        """What an answer has below "data", for other secrets engines."""
        return _in_data(self._get(path, params, max_bytes=max_bytes), kind, self.where)

    def names(self, path: str) -> list[str]:
        """What a list has; folders end in a slash."""
        return self._listed(path, max_bytes=MAX_NAMES_BYTES).keys or []

    def patch(self, path: str, body: Mapping[str, object]) -> None:
        """A JSON merge patch."""
        self._with_token(lambda: self._client.patch(path, body))

    def pki_mounts(self) -> list[str]:
        """Needs read on sys/mounts."""
        data = self._data("/sys/mounts", dict[str, _Mount])
        return sorted(path.rstrip("/") for path, mount in data.items() if mount.type == "pki")

    def issuers(self, mount: str) -> list[Issuer]:
        listed = self._listed(f"{_path(mount)}/issuers")
        found = []
        for id in listed.keys or ():
            said = self._data(f"{_path(mount)}/issuer/{quote(id, safe='')}/json", _Issuer)
            listed_as = (listed.key_info or {}).get(id, {})
            found.append(
                Issuer(
                    id=id,
                    name=said.issuer_name or str(listed_as.get("issuer_name") or ""),
                    certificate=said.certificate,
                    is_default=listed_as.get("is_default") is True,
                    # Older servers do not say.
                    has_key=listed_as.get("key_id", "unknown") != "",
                )
            )
        return found

    def serials(self, mount: str, *, revoked: bool = False) -> Iterator[str]:
        """Of what the mount keeps, as it writes them (hex with colons or hyphens), in order."""
        path = f"{_path(mount)}/certs{'/revoked' if revoked else ''}"
        after = ""
        while True:
            keys = self._listed(path, {"limit": str(PAGE), "after": after} if after else {"limit": str(PAGE)})
            found = [each for each in keys.keys or () if _stored(each) > after]
            yield from found
            # A server without pages has sent all, or sends the same again.
            if len(keys.keys or ()) != PAGE or not found:
                return
            after = _stored(found[-1])

    def certificate(self, mount: str, serial: str) -> Issued | None:
        """None: it is there no more (tidied away)."""
        try:
            said = self._data(f"{_path(mount)}/cert/{quote(serial, safe='')}", _Certificate)
        except RequestFailed as failed:
            if failed.status == 404:
                return None
            raise
        at: datetime | None = None
        if said.revocation_time > 0:
            try:
                at = datetime.fromtimestamp(said.revocation_time, UTC)
            except (ValueError, OverflowError, OSError):
                at = datetime.fromtimestamp(0, UTC)
        return Issued(certificate=said.certificate, revoked_at=at)

    def sign(self, mount: str, role: str, csr: str, *, names: Sequence[str], seconds: int | None) -> Signed:
        """`csr`: PEM; `names` as the model writes them ("dns:…", "ip:…"). `seconds` None: the role's."""
        by_kind = {
            kind: [value for each, _, value in (name.partition(":") for name in names) if each == kind]
            for kind in ("dns", "email", "ip", "uri")
        }
        body: dict[str, Any] = {
            "csr": csr,
            "alt_names": ",".join(by_kind["dns"] + by_kind["email"]),
            "ip_sans": ",".join(by_kind["ip"]),
            "uri_sans": ",".join(by_kind["uri"]),
            "format": "pem",
        }
        if by_kind["dns"]:
            body["common_name"] = by_kind["dns"][0]
        if seconds is not None:
            body["ttl"] = f"{seconds}s"
        path = f"{_path(mount)}/sign/{quote(role, safe='')}"
        said = self._with_token(lambda: self._client.post(path, body))
        found = _in_data(said, _Signed, self.where)
        above = found.ca_chain or ([found.issuing_ca] if found.issuing_ca else [])
        return Signed(certificate=found.certificate, above=tuple(above))

    def revoke(self, mount: str, serial: str) -> None:
        """`serial`: hex with colons. One that is revoked stays so."""
        self._with_token(lambda: self._client.post(f"{_path(mount)}/revoke", {"serial_number": serial}))

    def distribution(self, mount: str) -> Distribution:
        said = self._data(f"{_path(mount)}/config/urls", _URLs)
        return Distribution(
            crl=tuple(said.crl_distribution_points or ()), ocsp=tuple(said.ocsp_servers or ())
        )

    def revocation_setup(self, mount: str) -> RevocationSetup:
        said = self._data(f"{_path(mount)}/config/crl", _CRL)
        return RevocationSetup(
            crl=not said.disable,
            crl_expiry=said.expiry,
            crl_auto_rebuild=said.auto_rebuild,
            ocsp=not said.ocsp_disable,
        )

    def tidy(self, mount: str) -> Tidy:
        setup = self._data(f"{_path(mount)}/config/auto-tidy", _AutoTidy)
        status = self._data(f"{_path(mount)}/tidy-status", _TidyStatus)
        return Tidy(
            automatic=setup.enabled,
            interval_seconds=setup.interval_duration,
            state=status.state or "",
            error=status.error or "",
            finished_at=status.time_finished or "",
        )

    def _listed(
        self, path: str, params: Mapping[str, str] | None = None, *, max_bytes: int = MAX_LIST_BYTES
    ) -> _Keys:
        try:
            data = self._get(path, {**(params or {}), "list": "true"}, max_bytes=max_bytes)
        except RequestFailed as failed:
            # So it says that there is nothing: without an error. A path that leads nowhere has one.
            if says_nothing_is_there(failed):
                return _Keys()
            raise
        return _in_data(data, _Keys, self.where)

    def _data(self, path: str, kind: type[T]) -> T:
        return self.data(path, kind)


def says_nothing_is_there(failed: RequestFailed) -> bool:
    return failed.status == 404 and b'"errors":[]' in failed.body.replace(b" ", b"")


def _path(mount: str) -> str:
    return "/" + quote(mount.strip("/"))


def _stored(serial: str) -> str:
    """As the storage has it, and orders it: the list shows colons, and `after` is taken as it is (OpenBao,
    path_fetch.go). By colons all that share a first byte would be left out."""
    return serial.replace(":", "-")


def _in_data(answer: bytes, kind: type[T], where: str) -> T:
    """What an answer has below "data"."""
    return decoded_as(bytes(decoded_as(answer, _Envelope, where).data), kind, where)
