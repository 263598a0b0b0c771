import asyncio
import gzip
import tracemalloc

import pytest

from certwatch.doors.addresses import AddressPolicy
from certwatch.doors.dns import Resolver
from certwatch.doors.fetch import FetchCache, Fetcher, FetchError, FetchPolicy
from tests.support.raw_http import always, answer, raw_http

pytestmark = pytest.mark.anyio
HERE = FetchPolicy.configured(max_bytes=100_000, timeout_seconds=5)


async def refusal(url: str, policy: FetchPolicy = HERE, resolver: Resolver | None = None) -> FetchError:
    async with Fetcher(policy, resolver=resolver) as fetcher:
        with pytest.raises(FetchError) as caught:
            await fetcher.get(url)
    return caught.value


async def test_a_body_is_fetched_with_its_headers_and_its_time() -> None:
    async with (
        raw_http(always(answer("200 OK", b"crl", "X-A: 1", "x-a: 2"))) as server,
        Fetcher(HERE) as fetcher,
    ):
        fetched = await fetcher.get(
            f"{server.url}/a.crl?x=1#part", headers={"Accept": "application/pkix-crl"}
        )
    assert (fetched.status, fetched.body, fetched.headers["x-a"]) == (200, b"crl", "1, 2")
    assert fetched.seconds > 0
    head = server.requests[0]
    assert head.startswith(b"GET /a.crl?x=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}".encode() in head
    assert b"Accept: application/pkix-crl\r\n" in head


async def test_a_post_carries_its_content_and_is_never_redirected() -> None:
    async with raw_http(always(answer("307 Go", b"", "Location: /b"))) as server, Fetcher(HERE) as fetcher:
        with pytest.raises(FetchError, match="redirects"):
            await fetcher.post(f"{server.url}/ocsp", b"ask")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://224.0.0.1/",
        "http://0.0.0.0/",
    ],
)
async def test_metadata_services_are_reached_for_nobody(url: str) -> None:
    assert (await refusal(url)).kind == "permission"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/",
        "http://localhost:8080/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://[fd12::1]/",
    ],
)
async def test_what_a_certificate_names_leads_to_no_private_address(url: str) -> None:
    found = await refusal(url, FetchPolicy.certificates())
    assert found.kind == "permission"
    assert not found.again


async def test_a_name_with_one_private_address_is_refused_whatever_its_others_are() -> None:
    resolver = Resolver(lookup=lambda name, family: ["192.0.2.1", "10.0.0.1"])
    found = await refusal("http://crl.example.com/", FetchPolicy.certificates(), resolver)
    assert found.kind == "permission"


async def test_a_network_that_the_operator_opens_is_asked() -> None:
    from ipaddress import ip_network

    policy = FetchPolicy(addresses=AddressPolicy(allowed=(ip_network("127.0.0.0/8"),)))
    async with raw_http(always(answer("200 OK", b"x"))) as server, Fetcher(policy) as fetcher:
        assert (await fetcher.get(server.url)).body == b"x"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ldap://ldap.example.com/cn=x",
        "ftp://ftp.example.com/a.crl",
        "http://user:pass@ca.example.com/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://ca.example.com\\@10.0.0.1/",
        "http://ca.example.com:99999/",
        "http:///a",
        "http://a..b/",
        "http://x/" + "a" * 5000,
        "http://ca.example.com/a b",
        "http://ca.example.com/a\r\nX: y",
        "",
    ],
)
async def test_what_is_no_plain_web_address_is_not_fetched(url: str) -> None:
    assert (await refusal(url)).kind == "malformed"


async def test_ports_of_other_protocols_are_not_asked_for_a_certificate() -> None:
    assert (await refusal("http://192.0.2.1:25/", FetchPolicy.certificates())).kind == "permission"


async def test_a_redirect_loop_ends() -> None:
    async with raw_http(always(answer("302 Found", b"", "Location: /again"))) as server:
        found = await refusal(server.url)
        assert "redirects" in found.message
        assert len(server.requests) == 4


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "file:///etc/passwd", "//169.254.169.254/", ""])
async def test_a_redirect_to_elsewhere_is_not_followed(target: str) -> None:
    async with raw_http(always(answer("302 Found", b"", f"Location: {target}"))) as server:
        found = await refusal(server.url)
    assert "elsewhere" in found.message
    assert len(server.requests) == 1


async def test_an_endless_body_is_cut_off() -> None:
    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with raw_http(endless) as server:
        assert "more than 100000 bytes" in (await refusal(server.url)).message


async def test_a_gzip_bomb_costs_no_more_than_the_limit() -> None:
    bomb = gzip.compress(bytes(200_000_000))
    async with raw_http(always(answer("200 OK", bomb, "Content-Encoding: gzip"))) as server:
        tracemalloc.start()
        try:
            found = await refusal(server.url)
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()
    assert "more than 100000 bytes" in found.message


async def test_gzip_within_the_limit_is_inflated_and_a_damaged_one_is_told() -> None:
    whole = gzip.compress(b"crl" * 1000)
    async with (
        raw_http(always(answer("200 OK", whole, "Content-Encoding: gzip"))) as server,
        Fetcher(HERE) as fetcher,
    ):
        assert (await fetcher.get(server.url)).body == b"crl" * 1000
    for broken in (whole[:-9], b"no gzip"):
        async with raw_http(always(answer("200 OK", broken, "Content-Encoding: gzip"))) as server:
            assert (await refusal(server.url)).kind == "malformed"


async def test_a_server_that_never_ends_its_answer_is_left_in_time() -> None:
    async def drip(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    async with raw_http(drip) as server:
        found = await refusal(server.url, FetchPolicy.configured(timeout_seconds=0.2))
    assert (found.kind, found.again) == ("timeout", True)


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b""])
async def test_what_is_not_http_is_malformed(data: bytes) -> None:
    async with raw_http(always(data)) as server:
        assert (await refusal(server.url)).kind == "malformed"


async def test_nothing_listens() -> None:
    async with raw_http(always(b"")) as server:
        pass
    assert (await refusal(server.url)).kind == "refused"


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        ("404 No", "not-found", False),
        ("403 No", "permission", False),
        ("429 Slow", "other", True),
        ("503 No", "other", True),
    ],
)
async def test_a_refusal_says_whether_to_come_again(status: str, kind: str, again: bool) -> None:
    async with raw_http(always(answer(status, b"", "Retry-After: 7"))) as server:
        found = await refusal(server.url)
    assert (found.kind, found.again, found.retry_after) == (kind, again, 7)


@pytest.mark.parametrize(
    ("after", "date", "seconds"),
    [
        ("Wed, 25 Nov 2026 10:02:00 GMT", "Wed, 25 Nov 2026 10:00:00 GMT", 120),
        ("Wed, 25 Nov 2026 09:00:00 GMT", "Wed, 25 Nov 2026 10:00:00 GMT", 0),
        ("Wed, 25 Nov 2026 10:02:00 GMT", "yesterday", None),
        ("soon", "Wed, 25 Nov 2026 10:00:00 GMT", None),
        ("-1", "", None),
    ],
)
async def test_when_to_come_again_may_be_a_date_by_the_servers_clock(
    after: str, date: str, seconds: float | None
) -> None:
    async with raw_http(always(answer("503 No", b"", f"Retry-After: {after}", f"Date: {date}"))) as server:
        assert (await refusal(server.url)).retry_after == seconds


async def test_what_has_not_changed_is_not_sent_again() -> None:
    async def give(head: bytes, writer: asyncio.StreamWriter) -> None:
        same = b'If-None-Match: "1"' in head
        writer.write(b"HTTP/1.1 304 Same\r\n\r\n" if same else answer("200 OK", b"crl", 'ETag: "1"'))

    cache = FetchCache()
    async with raw_http(give) as server:
        async with Fetcher(HERE, cache=cache) as fetcher:
            first = await fetcher.get(f"{server.url}/a")
        async with Fetcher(HERE, cache=cache) as fetcher:
            second = await fetcher.get(f"{server.url}/a")
    assert (first.from_cache, second.from_cache) == (False, True)
    assert first.body == second.body == b"crl"


def test_the_cache_forgets_the_least_used_first_and_stays_within_its_size() -> None:
    cache = FetchCache(max_bytes=10)
    for url in "abc":
        cache.keep(url, {"etag": url}, b"1234")
        cache.body("a")
    assert [url for url in "abc" if cache.body(url)] == ["a", "c"]
    cache.keep("d", {"etag": "d"}, b"12345678901")
    assert cache.body("d") is None
