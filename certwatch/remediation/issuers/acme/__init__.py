"""Any CA that speaks ACME (RFC 8555), by the `acme` library: http-01, dns-01, external account binding, ARI's "replaces"."""

import asyncio
import threading
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import requests
from acme import challenges as said
from acme import client, errors, messages
from cryptography import x509
from josepy.errors import Error as JoseError
from josepy.json_util import field

from certwatch.model.certificate import Certificate
from certwatch.plugins.issuer import CertificateRequest, IssueFailed, IssuerConfig, IssuerContext
from certwatch.remediation.issuers.acme.account import Account, AccountFailed, TooMany
from certwatch.remediation.issuers.acme.challenges import (
    ChallengeFailed,
    Hook,
    Standalone,
    Update,
    Way,
    Webroot,
    all_shown,
)
from certwatch.remediation.issuers.acme.config import AcmeConfig, DNSKeys, HTTPKeys

__all__ = ["AcmeConfig", "AcmeIssuer"]

#: What the library's polling is left alone with at a time, so that a stop need not wait for the CA.
SLICE_SECONDS = 2.0
POLL_SECONDS = 1.0
#: Where the CA says "too many" and not until when.
LIMIT_SECONDS = 3600.0
#: Problems that stay (RFC 8555, 6.7): asking again changes nothing.
REFUSED = frozenset(
    {"badCSR", "caa", "rejectedIdentifier", "unsupportedIdentifier", "unauthorized", "externalAccountRequired",
     "userActionRequired", "badPublicKey", "invalidProfile", "accountDoesNotExist"}
)  # fmt: skip
#: CRLReason (RFC 5280, 5.3.1).
REASONS = {"unspecified": 0, "key-compromise": 1, "affiliation-changed": 3, "superseded": 4, "cessation-of-operation": 5}  # fmt: skip


class _Stopped(Exception):
    """Nobody waits for it any more."""


class _ReplacingOrder(messages.NewOrder):
    """RFC 9773, 5."""

    replaces: str | None = field("replaces", omitempty=True)


class AcmeIssuer:
    Config: ClassVar[type[IssuerConfig]] = AcmeConfig

    def __init__(self, config: AcmeConfig, context: IssuerContext) -> None:
        self._config = config
        self._folder = context.state_folder
        # One order at a time: listeners and records of two would be in one another's way.
        self._turn = asyncio.Lock()

    async def issue(self, request: CertificateRequest) -> bytes:
        async with self._turn:
            stopped = threading.Event()
            try:
                return await asyncio.to_thread(self._translated, self._issue, request, stopped)
            except asyncio.CancelledError:
                stopped.set()
                raise

    async def revoke(self, certificate: Certificate, reason: str) -> None:
        await asyncio.to_thread(self._translated, self._revoke, certificate, reason)

    def _translated(self, act: Any, *values: Any) -> Any:
        """The one place where the library's errors become ours."""
        where = self._config.directory
        try:
            return act(*values)
        except (AccountFailed, ChallengeFailed) as error:
            raise IssueFailed("other", str(error), again=True) from error
        except TooMany as error:
            raise IssueFailed(
                "limit",
                f"{where}: rateLimited: {error}"[:500],
                again=True,
                retry_after=error.retry_after if error.retry_after is not None else LIMIT_SECONDS,
            ) from error
        except messages.Error as error:
            raise _problem(where, error) from error
        except errors.ValidationError as error:
            raise IssueFailed("refused", f"{where}: {_failures(error)}", again=True) from error
        except (errors.IssuanceError, errors.Error) as error:
            why = str(error) or type(error).__name__
            raise IssueFailed("unavailable", f"{where}: {why[:500]}", again=True) from error
        except (requests.RequestException, JoseError, ValueError, KeyError) as error:
            raise IssueFailed("unavailable", f"{where}: {str(error)[:500]}", again=True) from error
        except TimeoutError as error:
            raise IssueFailed("unavailable", f"{where}: {error}", again=True) from error
        except _Stopped as error:
            raise IssueFailed("other", "stopped", again=True) from error

    def _account(self) -> Account:
        if self._folder is None:
            raise AccountFailed("there is no folder to keep an ACME account in")
        return Account(self._config, self._folder)

    def _issue(self, request: CertificateRequest, stopped: threading.Event) -> bytes:
        deadline = datetime.now() + timedelta(seconds=self._config.seconds)  # noqa: DTZ005 - as the library has it
        account = self._account()
        try:
            opened = account.open()
            order = self._order(opened, request)
        except messages.Error as error:
            if error.code != "accountDoesNotExist":
                raise
            account.forget()
            opened = account.open()
            order = self._order(opened, request)
        ways = self._ways()
        asked = [_chosen(each, opened, ways) for each in order.authorizations if not _is_valid(each)]
        with all_shown([(way, name, token, value) for way, name, token, value, _, _ in asked]):
            if any(way.kind == "dns-01" for way, *_ in asked) and self._config.dns is not None:
                if stopped.wait(self._config.dns.wait.total_seconds()):
                    raise _Stopped
            for *_, challenge, response in asked:
                opened.answer_challenge(challenge, response)
            self._proven(opened, order, deadline, stopped)
        try:
            opened.begin_finalization(order)
        except messages.Error as error:
            if error.code != "orderNotReady":
                raise
        return str(self._finalized(opened, order, deadline, stopped).fullchain_pem).encode()

    def _order(self, opened: client.ClientV2, request: CertificateRequest) -> messages.OrderResource:
        replaces = (
            _ari_id(request.replaces)
            if request.replaces is not None and "renewalInfo" in opened.directory.to_partial_json()
            else None
        )
        if replaces is not None:
            try:
                return self._new_order(opened, request, replaces)
            except messages.Error as error:
                # Not of this CA, or replaced already: it may still give another.
                if error.code == "accountDoesNotExist":
                    raise
        return self._new_order(opened, request, None)

    def _new_order(
        self, opened: client.ClientV2, request: CertificateRequest, replaces: str | None
    ) -> messages.OrderResource:
        """As the library's, which knows of no "replaces"."""
        names = [each.partition(":") for each in request.names]
        identifiers = [
            messages.Identifier(
                typ=messages.IDENTIFIER_IP if kind == "ip" else messages.IDENTIFIER_FQDN, value=value
            )
            for kind, _, value in names
        ]
        if any(kind not in ("dns", "ip") for kind, _, _ in names):
            raise IssueFailed("refused", "ACME gives certificates for DNS names and addresses only")
        more: dict[str, Any] = {"profile": self._config.profile} if self._config.profile else {}
        if replaces is not None:
            more["replaces"] = replaces
        wanted = _ReplacingOrder(identifiers=identifiers, **more)
        answer = opened._post(opened.directory["newOrder"], wanted)
        body = messages.Order.from_json(answer.json())
        authorizations = [
            opened._authzr_from_response(opened._post_as_get(url), uri=url) for url in body.authorizations
        ]
        return messages.OrderResource(
            body=body,
            uri=answer.headers.get("Location"),
            authorizations=authorizations,
            csr_pem=request.csr_pem,
        )

    def _ways(self) -> dict[str, Way]:
        found: dict[str, Way] = {}
        if self._config.http is not None:
            found["http-01"] = _http_way(self._config.http)
        if self._config.dns is not None:
            found["dns-01"] = _dns_way(self._config.dns)
        return found

    def _proven(
        self,
        opened: client.ClientV2,
        order: messages.OrderResource,
        deadline: datetime,
        stopped: threading.Event,
    ) -> None:
        while True:
            try:
                opened.poll_authorizations(order, _slice(deadline))
                return
            except errors.TimeoutError as error:
                self._go_on(deadline, stopped, "names are not validated", error)

    def _finalized(
        self,
        opened: client.ClientV2,
        order: messages.OrderResource,
        deadline: datetime,
        stopped: threading.Event,
    ) -> messages.OrderResource:
        while True:
            try:
                return opened.poll_finalization(order, _slice(deadline))
            except errors.TimeoutError as error:
                self._go_on(deadline, stopped, "nothing is issued", error)

    def _go_on(self, deadline: datetime, stopped: threading.Event, what: str, error: Exception) -> None:
        if stopped.is_set():
            raise _Stopped
        if datetime.now() > deadline:  # noqa: DTZ005
            raise TimeoutError(f"{what} within {self._config.seconds:g} s") from error

    def _revoke(self, certificate: Certificate, reason: str) -> None:
        opened = self._account().open()
        try:
            opened.revoke(x509.load_der_x509_certificate(certificate.der), REASONS.get(reason, 0))
        except messages.Error as error:
            if error.code != "alreadyRevoked":
                raise


def _chosen(
    authorization: messages.AuthorizationResource, opened: client.ClientV2, ways: Mapping[str, Way]
) -> tuple[Way, str, str, str, messages.ChallengeBody, Any]:
    """The first challenge that there is a way for: way, name, token, value, challenge, response."""
    name = authorization.body.identifier.value
    for each in authorization.body.challenges:
        way = ways.get(each.chall.typ)
        if way is None or not isinstance(each.chall, (said.HTTP01, said.DNS01)):
            continue
        response, value = each.response_and_validation(opened.net.key)
        return way, name, each.chall.encode("token"), value, each, response
    offered = ", ".join(sorted(each.chall.typ for each in authorization.body.challenges))
    raise ChallengeFailed(
        f"{name}: the CA wants {offered or 'nothing that is known'}; set http or dns accordingly"
    )


def _slice(deadline: datetime) -> datetime:
    return min(deadline, datetime.now() + timedelta(seconds=SLICE_SECONDS))  # noqa: DTZ005


def _is_valid(authorization: messages.AuthorizationResource) -> bool:
    return bool(authorization.body.status == messages.STATUS_VALID)


def _http_way(keys: HTTPKeys) -> Way:
    if keys.webroot is not None:
        return Webroot(keys.webroot)
    host, port = _address(keys.listen or "", 80)
    return Standalone(host or "0.0.0.0", port)  # noqa: S104 - what the user wrote


def _dns_way(keys: DNSKeys) -> Way:
    if keys.server is None:
        return Hook(keys.hook, keys.hook_seconds)
    host, port = _address(keys.server, 53)
    secret = None
    if keys.key_secret_file is not None:
        try:
            secret = Path(keys.key_secret_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ChallengeFailed(f"{keys.key_secret_file}: cannot be read: {error}") from error
    return Update(
        host,
        port,
        zone=keys.zone,
        key_name=keys.key_name,
        key_secret=secret,
        algorithm=keys.algorithm,
    )


def _address(text: str, port: int) -> tuple[str, int]:
    """ "192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53", "80"."""
    if text.isdigit():
        return "", int(text)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest.removeprefix(":") or port)
    host, colon, rest = text.rpartition(":")
    return (host, int(rest)) if colon and ":" not in host and rest.isdigit() else (text, port)


def _ari_id(certificate: Certificate) -> str | None:
    """RFC 9773, 4.1. None: it does not say which key signed it."""
    try:
        read = x509.load_der_x509_certificate(certificate.der)
        found = read.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (ValueError, x509.ExtensionNotFound):
        return None
    if not found:
        return None
    serial = read.serial_number
    return f"{_text(found)}.{_text(serial.to_bytes(serial.bit_length() // 8 + 1, 'big', signed=True))}"


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _problem(where: str, error: messages.Error) -> IssueFailed:
    message = f"{where}: {error.code or 'problem'}: {error.detail or ''}"[:500]
    if error.code in REFUSED:
        return IssueFailed("refused", message)
    return IssueFailed("unavailable", message, again=True)


def _failures(error: errors.ValidationError) -> str:
    found = [
        f"{each.body.identifier.value}: {challenge.chall.typ}: {challenge.error.detail or challenge.error.code}"
        for each in error.failed_authzrs
        for challenge in each.body.challenges
        if challenge.error is not None
    ]
    return "; ".join(found)[:500] or "names were not validated"
