"""Looking whether a client shows what it must. It names the host, so everything goes through guarded doors."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import dns.asyncresolver
import dns.exception
import dns.resolver

from certwatch.ca.acme.challenges import check_alpn, check_dns, check_http, key_authorization
from certwatch.ca.acme.identifiers import reverse_name
from certwatch.ca.acme.orders import Authorization
from certwatch.ca.acme.problem import Problem, ProblemType
from certwatch.ca.acme.settings import AcmeSettings
from certwatch.doors.dns import Family, Resolver, system_lookup
from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import Fetcher, FetchError, FetchPolicy

MOST_BYTES = 8 * 1024
#: Long CNAME chains for dns-01 are the resolver's to follow; of what it brings, so much is looked at.
MOST_TEXTS = 100

_PROBLEMS: dict[str, ProblemType] = {"dns": "dns", "tls-alert": "tls", "not-tls": "tls"}


async def validate(part: Authorization, thumbprint: bytes, settings: AcmeSettings) -> None:
    """Once. Raises Problem."""
    expected = key_authorization(part.token, thumbprint)
    looks: dict[str | None, Callable[[Authorization, str, AcmeSettings], Awaitable[None]]] = {
        "http-01": _http,
        "dns-01": _dns,
        "tls-alpn-01": _alpn,
    }
    try:
        async with asyncio.timeout(settings.timeout_seconds):
            await looks[part.tried](part, expected, settings)
    except TimeoutError as error:
        raise Problem(
            "connection", f"{part.identifier.base}: no answer within {settings.timeout_seconds:g} s"
        ) from error


async def _http(part: Authorization, expected: str, settings: AcmeSettings) -> None:
    host = f"[{part.identifier.base}]" if ":" in part.identifier.base else part.identifier.base
    port = "" if settings.http_port == 80 else f":{settings.http_port}"
    url = f"http://{host}{port}/.well-known/acme-challenge/{part.token}"
    policy = FetchPolicy(
        addresses=settings.policy,
        any_port=settings.http_port != 80,
        max_bytes=MOST_BYTES,
        timeout_seconds=settings.timeout_seconds,
    )
    try:
        # A redirect to https leads to the certificate that is to be replaced: it need not be valid.
        async with Fetcher(policy, tls=_unverified(), resolver=_resolver(settings), connections=2) as fetcher:
            answer = await fetcher.get(url)
    except FetchError as error:
        raise Problem(_PROBLEMS.get(error.kind, "connection"), error.message) from error
    check_http(answer.body, expected, answer.url)


async def _dns(part: Authorization, expected: str, settings: AcmeSettings) -> None:
    name = f"_acme-challenge.{part.identifier.base}"
    resolver = dns.asyncresolver.Resolver(configure=not settings.resolvers)
    if settings.resolvers:
        resolver.nameservers = _nameservers(settings)
    resolver.lifetime = settings.timeout_seconds
    # Another attempt must not be answered from here.
    resolver.cache = None
    try:
        answer = await resolver.resolve(name, "TXT", search=False, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN as error:
        raise Problem("dns", f"{name}: does not exist") from error
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise Problem("dns", f"{name}: cannot be looked up: {type(error).__name__}") from error
    texts = [b"".join(each.strings) for each in (answer.rrset or [])][:MOST_TEXTS]
    check_dns(texts, expected, name)


async def _alpn(part: Authorization, expected: str, settings: AcmeSettings) -> None:
    identifier = part.identifier
    where = f"{identifier.base}:{settings.tls_port}"
    addresses = [identifier.base] if identifier.kind == "ip" else await _addresses(identifier.base, settings)
    for each in addresses:
        why = settings.policy.why_not(each)
        if why is not None:
            raise Problem("connection", f"{where}: leads to {each}, {why}, and is not asked")
    context = _unverified()
    context.set_alpn_protocols(["acme-tls/1"])
    server = reverse_name(identifier.base) if identifier.kind == "ip" else identifier.base
    failed: OSError | None = None
    for each in addresses:
        try:
            _, writer = await asyncio.open_connection(
                each, settings.tls_port, ssl=context, server_hostname=server
            )
        except ssl.SSLError as error:
            raise Problem("tls", f"{where}: the handshake failed: {error.reason}") from error
        except OSError as error:
            failed = error
            continue
        try:
            connection = cast("ssl.SSLObject", writer.get_extra_info("ssl_object"))
            chosen, der = connection.selected_alpn_protocol(), connection.getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        if chosen != "acme-tls/1" or der is None:
            raise Problem("unauthorized", f"{where}: does not speak acme-tls/1")
        check_alpn(der, expected, identifier, where)
        return
    raise Problem("connection", f"{where}: {failed.strerror if failed else 'no address'}")


async def _addresses(name: str, settings: AcmeSettings) -> Sequence[str]:
    resolver = _resolver(settings)
    try:
        return (await resolver.resolve(name)).addresses
    except LookFailed as error:
        raise Problem("dns", error.message) from error
    finally:
        await resolver.close()


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _nameservers(settings: AcmeSettings) -> list[dns.nameserver.Nameserver | str]:
    return [dns.nameserver.Do53Nameserver(host, port) for host, port in settings.resolvers]


def _resolver(settings: AcmeSettings) -> Resolver:
    lookup = _lookup_at(settings) if settings.resolvers else system_lookup
    return Resolver(timeout=settings.timeout_seconds, threads=2, lookup=lookup)


def _lookup_at(settings: AcmeSettings) -> Callable[[str, Family], Sequence[str]]:
    def lookup(name: str, family: Family) -> Sequence[str]:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = _nameservers(settings)
        resolver.lifetime = settings.timeout_seconds
        found: list[str] = []
        for type in ("A", "AAAA"):
            try:
                answer = resolver.resolve(name, type, search=False, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                break
            except (dns.exception.DNSException, ValueError) as error:
                raise OSError(0, f"{type}: {error.__class__.__name__}") from error
            found += [each.address for each in (answer.rrset or [])]
        return found

    return lookup
