"""Many looks at once: bounded, paced, none waiting for another."""

import asyncio
from collections import deque
from collections.abc import Callable

from certwatch.doors.dns import Resolver
from certwatch.doors.failure import LookFailed
from certwatch.model.observation import Incomplete, LookError, Observation
from collectors.tls.plan import Endpoint, Plan
from collectors.tls.probe import Prober, addresses_of
from collectors.tls.rate import Rate
from collectors.tls.results import Results

Result = Observation | Incomplete

#: New looks begun in one turn of the event loop. While the loop is busy with handshakes it turns slowly, and
#: few begin; while it waits for the network it turns fast. So the looks under way are as many as the network
#: needs, not as many as are allowed, and the times measured are the servers', not our own queue's.
_BEGUN_A_TURN = 16


class Crew:
    """One scan's work: takes endpoints from the plan, keeps at most `concurrency` looks under way, puts what
    they saw into `results`. `run` once."""

    def __init__(
        self,
        *,
        plan: Plan,
        prober: Prober,
        resolver: Resolver,
        results: Results[Result],
        concurrency: int,
        rate: Rate | None,
        progress: Callable[[int, int | None], None],
        step: int = 0,
    ) -> None:
        """`step`: where to go on in the random order of the networks."""
        self._plan = plan
        self._endpoints = plan.endpoints(step)
        #: The step of the last network endpoint that was begun, and one more.
        self._next_step = step
        #: Something took a connection, or refused one: the way out is open.
        self.has_met_anyone = False
        self._prober = prober
        self._resolver = resolver
        self._results = results
        self._concurrency = concurrency
        self._rate = rate
        self._progress = progress
        #: Addresses that names led to, and that wait for their turn.
        self._pending: deque[Endpoint] = deque()
        #: Looks under way, by the number of their beginning.
        self._active: dict[int, Endpoint] = {}
        #: Workers that wait for an endpoint; None sends them home.
        self._idle: list[asyncio.Future[tuple[int, Endpoint] | None]] = []
        self._begun = 0
        self._done = 0
        #: Set when a look ends.
        self._ended = asyncio.Event()
        self._incomplete: set[str] = set()

    async def run(self, total_timeout: float | None) -> None:
        """Until everything was looked at, or the time is over: then what was not is said to be incomplete."""
        try:
            async with asyncio.timeout(total_timeout):
                await self._dispatch()
        except TimeoutError:
            self._say_unseen(total_timeout or 0)

    async def _dispatch(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                endpoint = self._pending.popleft() if self._pending else next(self._endpoints, None)
                if endpoint is None:
                    if not self._active:
                        self._dismiss()
                        return
                    # A name under way may still lead to addresses.
                    await self._an_end()
                    continue
                # Named as under way from here on, so that no endpoint is lost while this waits.
                number = self._begun = self._begun + 1
                self._active[number] = endpoint
                if endpoint.step is not None:
                    self._next_step = endpoint.step + 1
                while len(self._active) > self._concurrency:
                    await self._an_end()
                if self._results.is_full:
                    await self._results.room()
                if self._rate is not None and not endpoint.is_name:
                    await self._rate.take()
                if self._idle:
                    self._idle.pop().set_result((number, endpoint))
                else:
                    group.create_task(self._work(number, endpoint))
                if number % _BEGUN_A_TURN == 0:
                    await asyncio.sleep(0)

    def mark(self) -> int:
        """The step before which every endpoint of the networks was looked at."""
        return next((each.step for each in self._active.values() if each.step is not None), self._next_step)

    async def _an_end(self) -> None:
        self._ended.clear()
        await self._ended.wait()

    async def _work(self, number: int, endpoint: Endpoint) -> None:
        """A worker's life: one endpoint after the other. Cheaper than a task each."""
        while True:
            await self._attend(number, endpoint)
            rest: asyncio.Future[tuple[int, Endpoint] | None] = asyncio.get_running_loop().create_future()
            self._idle.append(rest)
            given = await rest
            if given is None:
                return
            number, endpoint = given

    def _dismiss(self) -> None:
        while self._idle:
            self._idle.pop().set_result(None)

    async def _attend(self, number: int, endpoint: Endpoint) -> None:
        if endpoint.is_name and self._prober.proxy is None:
            await self._resolve(endpoint)
        elif endpoint.is_name and not self._plan.admit(endpoint, endpoint.host):
            pass  # the proxy resolves it, and it was named before
        else:
            self._tell(await self._prober.probe(endpoint))
        # Not in a `finally`: what is cancelled stays in `_active`, and is told as unseen.
        del self._active[number]
        self._ended.set()

    async def _resolve(self, endpoint: Endpoint) -> None:
        try:
            resolved = await self._resolver.resolve(endpoint.host)
        except LookFailed as failure:
            # A name that a cluster has and DNS has not is no gap in what was looked at.
            if endpoint.target.discovered and failure.final:
                self._plan.total -= 1
            elif self._plan.admit(endpoint, endpoint.host):
                self._say_incomplete(endpoint.target.text, failure.error)
                self._tell(self._prober.unresolved(endpoint, failure))
            return
        found = addresses_of(endpoint, resolved)
        self._plan.total += len(found) - 1
        self._pending.extend(each for each in found if self._plan.admit(endpoint, each.host))

    def _tell(self, observation: Observation) -> None:
        error = observation.error
        if error is None or "connect_seconds" in observation.facts or error.kind == "refused":
            self.has_met_anyone = True
        self._results.put(observation)
        self._done += 1
        self._progress(self._done, self._plan.total)

    def _say_incomplete(self, scope: str, error: LookError) -> None:
        if scope not in self._incomplete:
            self._incomplete.add(scope)
            self._results.put(Incomplete(scope=scope, error=error))

    def _say_unseen(self, seconds: float) -> None:
        unseen = [endpoint.target for endpoint in (*self._active.values(), *self._pending)]
        for target in (*unseen, *self._plan.remaining()):
            self._say_incomplete(
                target.text,
                LookError(
                    kind="timeout",
                    message=f"{target.text}: not looked at whole within total_timeout ({seconds:g} s)."
                    " Raise total_timeout, concurrency or rate, or split the targets.",
                ),
            )
