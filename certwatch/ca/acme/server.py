"""ACME over HTTP: resources, their URLs, and what is answered (RFC 8555, 7)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from cryptography import x509
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from certwatch.ca import crl
from certwatch.ca.acme import accounts, challenges, finalize, identifiers, jws, orders, renewal
from certwatch.ca.acme.accounts import Account
from certwatch.ca.acme.answers import (
    account_reply,
    challenge,
    json_reply,
    order_reply,
    problem_reply,
    shown_types,
)
from certwatch.ca.acme.gate import PREFIX, Asked, Gate, Handler
from certwatch.ca.acme.orders import AcmeOrder, Authorization
from certwatch.ca.acme.problem import Problem, of_ca
from certwatch.ca.acme.settings import AcmeSettings
from certwatch.ca.acme.validations import Validations
from certwatch.ca.authority import Authority, chain_pem, instant
from certwatch.ca.failure import CAError
from certwatch.ca.service import Service
from certwatch.model.instants import iso
from certwatch.model.shown import shown

ORDERS_A_PAGE = 100

P = ParamSpec("P")
T = TypeVar("T")


class AcmeServer:
    """The routes of one CA, under `PREFIX`. They work while `running` is entered."""

    def __init__(self, service: Service, settings: AcmeSettings) -> None:
        """Raises CAError "usage"."""
        authority = service.authority
        unknown = [each for each in settings.profiles if each not in authority.settings.profiles]
        if unknown:
            raise CAError("usage", f'ca: acme: profiles: no profile is called "{unknown[0]}"')
        self._service = service
        self._authority = authority
        self._settings = settings
        self._gate = Gate(service, settings)
        self._validations: Validations | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self._service.act(finalize.resume)
        async with Validations(self._service, self._settings) as self._validations:
            yield

    def routes(self) -> list[Route]:
        def post(path: str, handler: Handler, *, new: bool = False) -> Route:
            return Route(PREFIX + path, self._gate.posted(handler, by_key=new), methods=["POST"])

        return [
            Route(PREFIX + "/directory", self._directory, methods=["GET"]),
            Route(PREFIX + "/nonce", self._nonce, methods=["GET", "HEAD"]),
            Route(PREFIX + "/renewal-info/{id}", self._renewal_info, methods=["GET"]),
            post("/new-account", self._new_account, new=True),
            post("/account/{account:int}", self._one_account),
            post("/account/{account:int}/orders", self._orders),
            post("/key-change", self._key_change),
            post("/new-order", self._new_order),
            post("/order/{order}", self._order),
            post("/order/{order}/finalize", self._finalize),
            post("/authorization/{authorization}", self._authorization),
            post("/challenge/{authorization}/{type}", self._challenge),
            post("/certificate/{serial}", self._certificate),
            post("/revoke", self._revoke, new=True),
        ]

    async def _do(
        self, function: Callable[Concatenate[Authority, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        return await self._service.act(lambda authority: function(authority, *args, **more))

    # Without an envelope.

    async def _directory(self, request: Request) -> Response:
        base, settings = self._gate.base(request), self._settings
        meta: dict[str, Any] = {
            "externalAccountRequired": settings.require_binding,
            "profiles": {each: self._authority.settings.profiles[each].usage for each in settings.profiles},
        }
        if settings.terms is not None:
            meta["termsOfService"] = settings.terms
        if settings.website is not None:
            meta["website"] = settings.website
        return json_reply(
            {
                "newNonce": f"{base}/nonce",
                "newAccount": f"{base}/new-account",
                "newOrder": f"{base}/new-order",
                "revokeCert": f"{base}/revoke",
                "keyChange": f"{base}/key-change",
                "renewalInfo": f"{base}/renewal-info",
                "meta": meta,
            },
            headers={"Cache-Control": "public, max-age=300"},
        )

    async def _nonce(self, request: Request) -> Response:
        return Response(
            status_code=200 if request.method == "HEAD" else 204,
            headers={
                "Replay-Nonce": self._gate.nonce(),
                "Cache-Control": "no-store",
                "Link": f'<{self._gate.base(request)}/directory>;rel="index"',
            },
        )

    async def _renewal_info(self, request: Request) -> Response:
        try:
            window = await self._service.act(lambda _: self._window(request.path_params["id"]))
        except Problem as problem:
            return problem_reply(problem)
        except CAError as error:
            return problem_reply(of_ca(error, "malformed"))
        said: dict[str, Any] = {"suggestedWindow": {"start": iso(window.start), "end": iso(window.end)}}
        if window.why is not None and self._settings.website is not None:
            said["explanationURL"] = self._settings.website
        return json_reply(said, headers={"Retry-After": str(int(renewal.ASK_AGAIN.total_seconds()))})

    def _window(self, id: str) -> renewal.Window:
        return renewal.window(self._authority, renewal.serial_of(self._authority, id))

    # Accounts.

    async def _new_account(self, asked: Asked) -> Response:
        key = asked.envelope.key
        if key is None:
            raise Problem("malformed", "a new account is asked for with its jwk, not with a kid")
        payload = asked.payload()
        known = await self._do(accounts.by_key, key)
        if known is not None:
            if known.status != "valid":
                raise Problem("unauthorized", f"the account of this key is {known.status}")
            return account_reply(known, asked.base, status=200)
        if payload.get("onlyReturnExisting") is True:
            raise Problem("accountDoesNotExist", "there is no account of this key")
        if self._settings.terms is not None and payload.get("termsOfServiceAgreed") is not True:
            raise Problem("malformed", f"the terms of service must be agreed to: {self._settings.terms}")
        contacts = accounts.contacts_of(payload) or ()
        binding = payload.get("externalAccountBinding")
        kid: str | None = None
        if binding is not None:
            kid = jws.binding_kid(binding)
            secret = await self._do(accounts.secret_of, kid)
            jws.verify_binding(binding, key, asked.envelope.url, secret)
        elif self._settings.require_binding:
            raise Problem(
                "externalAccountRequired",
                "accounts are made with an external binding: ask the CA's people for a kid and an HMAC key",
            )
        account, added = await self._do(accounts.create, key, contacts, kid)
        return account_reply(account, asked.base, status=201 if added else 200)

    async def _one_account(self, asked: Asked) -> Response:
        account = _own(asked)
        if not asked.is_read:
            payload = asked.payload()
            if payload.get("status") == "deactivated":
                await self._do(accounts.deactivate, account)
            elif payload.get("status") not in (None, "valid"):
                raise Problem("malformed", "the only status that can be set is deactivated")
            elif (contacts := accounts.contacts_of(payload)) is not None:
                await self._do(accounts.set_contacts, account, contacts)
            account = await self._again(account)
        return account_reply(account, asked.base, status=200)

    async def _again(self, account: Account) -> Account:
        now = await self._do(accounts.by_id, account.id)
        return account if now is None else now

    async def _orders(self, asked: Asked) -> Response:
        account = _own(asked)
        asked.must_be_read()
        found = await self._service.act(
            lambda authority: orders.of_account(authority, account, after="", limit=ORDERS_A_PAGE)
        )
        return json_reply({"orders": [f"{asked.base}/order/{each}" for each in found]})

    async def _key_change(self, asked: Asked) -> Response:
        account = asked.known
        inner = jws.parse(asked.payload(), inner=True)
        if inner.key is None:
            raise Problem("malformed", "the inner JWS names the new key by jwk")
        inner.verified(inner.key.public)
        if inner.url != asked.envelope.url:
            raise Problem("malformed", "the inner JWS is for another url than the outer one")
        said = inner.object()
        if said.get("account") != asked.envelope.kid:
            raise Problem("malformed", "the inner JWS is for another account than the outer one")
        if jws.load_key(said.get("oldKey")).canonical != account.key.canonical:
            raise Problem("malformed", "oldKey is not the account's key")
        try:
            await self._do(accounts.change_key, account, inner.key)
        except accounts.KeyTaken as taken:
            raise Problem(
                "malformed",
                "the new key belongs to an account already",
                status=409,
                headers={"Location": f"{asked.base}/account/{taken.account}"},
            ) from taken
        return account_reply(await self._again(account), asked.base, status=200)

    # Orders.

    async def _new_order(self, asked: Asked) -> Response:
        account, payload = asked.known, asked.payload()
        wanted = identifiers.read(payload)
        if payload.get("notBefore") is not None or payload.get("notAfter") is not None:
            raise Problem("malformed", "notBefore and notAfter are the profile's to say: leave them out")
        profile = payload.get("profile", self._settings.profiles[0])
        if profile not in self._settings.profiles:
            known = ", ".join(self._settings.profiles)
            raise Problem(
                "invalidProfile", f"no profile is called {shown(str(profile))[:60]} (known: {known})"
            )
        identifiers.check(wanted, self._authority.settings.profiles[profile], account.requester)
        order = await self._service.act(
            lambda _: self._create(account, wanted, profile, payload.get("replaces"))
        )
        return order_reply(order, asked.base, status=201)

    def _create(
        self, account: Account, wanted: tuple[identifiers.Identifier, ...], profile: str, replaces: object
    ) -> AcmeOrder:
        names = {each.name for each in wanted}
        serial = (
            None if replaces is None else renewal.check_replaces(self._authority, replaces, account, names)
        )
        return orders.create(self._authority, self._settings, account, wanted, profile, serial)

    async def _own_order(self, asked: Asked) -> AcmeOrder:
        order = await self._do(orders.by_id, asked.path["order"])
        if order is None or order.account != asked.known.id:
            raise Problem("malformed", "there is no such order of this account", status=404)
        return order

    async def _order(self, asked: Asked) -> Response:
        asked.must_be_read()
        return order_reply(await self._own_order(asked), asked.base, status=200)

    async def _finalize(self, asked: Asked) -> Response:
        order = await self._own_order(asked)
        csr = jws.decode(asked.payload().get("csr"), "csr")
        if order.status != "ready":
            raise Problem("orderNotReady", f"the order is {order.status}, not ready")
        await self._do(finalize.finalize, order, asked.known, csr)
        return order_reply(await self._own_order(asked), asked.base, status=200)

    # What must be shown.

    async def _own_authorization(self, asked: Asked) -> Authorization:
        found = await self._do(orders.authorization, asked.path["authorization"])
        if found is None or found.account != asked.known.id:
            raise Problem("malformed", "there is no such authorization of this account", status=404)
        return found

    async def _authorization(self, asked: Asked) -> Response:
        part = await self._own_authorization(asked)
        if not asked.is_read:
            if asked.payload().get("status") != "deactivated":
                raise Problem("malformed", "the only status that can be set is deactivated")
            await self._do(orders.deactivate, part.id)
            part = await self._own_authorization(asked)
        identifier = part.identifier
        said: dict[str, Any] = {
            "status": "pending" if part.status == "processing" else part.status,
            "expires": iso(instant(part.expires)),
            "identifier": {"type": identifier.kind, "value": identifier.base},
            "challenges": [challenge(part, each, asked.base) for each in shown_types(part)],
        }
        if identifier.is_wildcard:
            said["wildcard"] = True
        headers = {"Retry-After": "2"} if part.status == "processing" else {}
        return json_reply(said, headers=headers)

    async def _challenge(self, asked: Asked) -> Response:
        part, type = await self._own_authorization(asked), asked.path["type"]
        if type not in challenges.types(part.identifier):
            raise Problem("malformed", "there is no such challenge", status=404)
        if not asked.is_read:
            asked.payload()
            if part.status == "pending" and await self._do(orders.begin, part.id, type):
                part = await self._own_authorization(asked)
                if self._validations is None:
                    raise Problem("serverInternal", "the server is stopping")
                self._validations.begin(part)
        response = json_reply(
            challenge(part, type, asked.base),
            headers={"Retry-After": "2"} if part.status == "processing" else {},
        )
        response.headers.append("Link", f'<{asked.base}/authorization/{part.id}>;rel="up"')
        return response

    # Certificates.

    async def _certificate(self, asked: Asked) -> Response:
        asked.must_be_read()
        accepted = asked.path["serial"]
        chain = await self._service.act(lambda _: self._chain(accepted, asked.known))
        return Response(chain, media_type="application/pem-certificate-chain")

    def _chain(self, serial: str, account: Account) -> bytes:
        try:
            key = bytes.fromhex(serial)
        except ValueError as error:
            raise Problem("malformed", "there is no such certificate", status=404) from error
        rows = self._authority.rows(
            "SELECT c.der, c.issuer FROM certificates c JOIN acme_orders o ON o.request = c.request"
            " WHERE c.serial = ? AND c.state = 'issued' AND o.account = ?",
            key,
            account.id,
        )
        if not rows:
            raise Problem("malformed", "there is no such certificate of this account", status=404)
        [(der, issuer)] = rows
        above = next(each for each in self._authority.issuers(retired=True) if each.id == issuer)
        return chain_pem(x509.load_der_x509_certificate(der), above)

    async def _revoke(self, asked: Asked) -> Response:
        payload = asked.payload()
        der = jws.decode(payload.get("certificate"), "certificate")
        reason = payload.get("reason", 0)
        if not isinstance(reason, int) or isinstance(reason, bool) or reason not in crl.BY_NUMBER:
            known = ", ".join(str(each) for each in crl.BY_NUMBER)
            raise Problem("badRevocationReason", f"this reason is not taken (taken are {known})")
        await self._service.act(lambda _: self._revoke_one(asked, der, crl.BY_NUMBER[reason]))
        return Response(status_code=200)

    def _revoke_one(self, asked: Asked, der: bytes, reason: str) -> None:
        """By the account that it was issued to, or by its own key (RFC 8555, 7.6)."""
        rows = self._authority.rows(
            "SELECT serial, requester, revoked FROM certificates WHERE der = ? AND serial = ?",
            der,
            _serial_in(der),
        )
        if not rows:
            raise Problem("malformed", "this CA has not made that certificate", status=404)
        [(serial, requester, revoked)] = rows
        if asked.account is not None:
            if requester != asked.account.requester:
                raise Problem("unauthorized", "the certificate was issued to another account")
            person = asked.account.requester
        else:
            certificate = x509.load_der_x509_certificate(der)
            key = asked.envelope.key
            if key is None or not jws.same_key(key.public, certificate.public_key()):
                raise Problem("unauthorized", "the key of the request is not the certificate's")
            person = "acme: by the certificate's key"
        if revoked is not None:
            raise Problem("alreadyRevoked", "the certificate is revoked already")
        crl.revoke(self._authority, bytes(serial).hex(), reason, person)


def _serial_in(der: bytes) -> bytes:
    """As the books have it. Raises Problem."""
    try:
        serial = x509.load_der_x509_certificate(der).serial_number
        return serial.to_bytes(16, "big")
    except (ValueError, OverflowError) as error:
        raise Problem("malformed", "certificate is not a certificate of this CA") from error


def _own(asked: Asked) -> Account:
    if asked.path["account"] != asked.known.id:
        raise Problem("unauthorized", "that is another account")
    return asked.known
