import socket
import threading
from collections.abc import Sequence

import anyio
import pytest

from certwatch.doors.dns import Family, Resolver, system_lookup
from certwatch.doors.failure import LookFailed

pytestmark = pytest.mark.anyio


class Names:
    """The far side: what the system's resolver would say."""

    def __init__(self, **names: Sequence[str] | Exception) -> None:
        self.names = names
        self.asked: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def __call__(self, name: str, family: Family) -> Sequence[str]:
        with self._lock:
            self.asked.append(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.names.get(name, ("192.0.2.1",))
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            with self._lock:
                self.at_once -= 1


async def test_every_address_is_given_and_each_name_asked_for_once() -> None:
    names = Names(www=("192.0.2.1", "2001:db8::1"))
    resolver = Resolver(lookup=names)
    seen = []

    async def ask() -> None:
        seen.append(await resolver.resolve("www"))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    await resolver.close()
    assert {each.addresses for each in seen} == {("192.0.2.1", "2001:db8::1")}
    assert len({each.seconds for each in seen}) == 1
    assert names.asked == ["www"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "does not resolve"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "no answer for now"),
        (UnicodeError("label too long"), "label"),
        (OSError(24, "Too many open files"), "open files"),
    ],
)
async def test_a_failure_is_of_kind_dns_and_says_why(error: Exception, says: str) -> None:
    resolver = Resolver(lookup=Names(www=error))
    for _ in range(2):
        with pytest.raises(LookFailed, match=says) as caught:
            await resolver.resolve("www")
        assert caught.value.kind == "dns"
    await resolver.close()


async def test_look_ups_at_once_are_bounded() -> None:
    names = Names()
    resolver = Resolver(lookup=names, threads=3)
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(resolver.resolve, f"host{number}")
    await resolver.close()
    assert len(names.asked) == 50
    assert names.most_at_once <= 3


async def test_a_stuck_resolver_costs_its_time_limit_and_no_more_than_a_thread() -> None:
    release = threading.Event()

    def stuck(name: str, family: Family) -> Sequence[str]:
        if name == "stuck":
            release.wait(10)
        return ("192.0.2.1",)

    resolver = Resolver(lookup=stuck, threads=2, timeout=0.05)
    try:
        with pytest.raises(LookFailed, match=r"within 0\.05 s"):
            await resolver.resolve("stuck")
        assert (await resolver.resolve("www")).addresses == ("192.0.2.1",)
    finally:
        release.set()
        await resolver.close()


async def test_closing_does_not_wait_for_a_stuck_resolver() -> None:
    release = threading.Event()

    def stuck(name: str, family: Family) -> Sequence[str]:
        release.wait(10)
        return ()

    resolver = Resolver(lookup=stuck)
    try:
        with anyio.fail_after(1):
            async with anyio.create_task_group() as group:
                group.start_soon(resolver.resolve, "www")
                await anyio.wait_all_tasks_blocked()
                await resolver.close()
                group.cancel_scope.cancel()
    finally:
        release.set()


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others() -> None:
    release = threading.Event()

    def slow(name: str, family: Family) -> Sequence[str]:
        release.wait(10)
        return ("192.0.2.1",)

    resolver = Resolver(lookup=slow)
    with anyio.move_on_after(0):
        await resolver.resolve("www")
    release.set()
    assert (await resolver.resolve("www")).addresses == ("192.0.2.1",)
    await resolver.close()


async def test_the_systems_resolver_knows_this_host() -> None:
    assert "127.0.0.1" in await anyio.to_thread.run_sync(system_lookup, "localhost", "ipv4")
    with pytest.raises(OSError):
        await anyio.to_thread.run_sync(system_lookup, "no-such-name.invalid", "any")
