"""Certificates that are one request each: several at once, told in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: Requests at once, and answers that wait for their turn.
AT_ONCE = 8
WAITING = 64
#: A server whose pages have no end is not asked for ever: twenty million certificates.
MOST_PAGES = 40_000


def fetched(wanted: Iterable[K], fetch: Callable[[K], V]) -> Iterator[tuple[K, V]]:
    """Raises what `fetch` raises; then no more is asked for."""
    waiting: deque[tuple[K, Future[V]]] = deque()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ca-database")
    try:
        for each in wanted:
            waiting.append((each, pool.submit(fetch, each)))
            if len(waiting) >= WAITING:
                key, answer = waiting.popleft()
                yield key, answer.result()
        while waiting:
            key, answer = waiting.popleft()
            yield key, answer.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
