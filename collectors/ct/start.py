"""Where to begin in a log that was never read."""

from datetime import datetime, timedelta

from certwatch.ct.heads import SignedHead
from certwatch.ct.leaves import parse_leaf
from certwatch.ct.malformed import Malformed
from collectors.ct.source import LogError, LogSource


async def find_start(source: LogSource, head: SignedHead, at: datetime | None, mmd: timedelta) -> int:
    """Index of the first entry of that instant or later; None: the end. Entries are in order of time only within the maximum
    merge delay: it is taken off, so that none is missed. Some thirty entries are read, one by one; they are believed only after
    the tree before the index was verified against the head."""
    if at is None:
        return head.size
    wanted = (at - mmd).timestamp() * 1000
    if wanted <= 0:
        return 0
    low, high = 0, head.size
    while low < high:
        middle = (low + high) // 2
        block = await source.block(middle, middle + 1, head.size)
        try:
            timestamp = parse_leaf(block.leaves[0]).timestamp
        except Malformed as error:
            raise LogError(f"entry {middle}: {error}: cannot find where {at:%Y-%m-%d} begins") from error
        if timestamp < wanted:
            low = middle + 1
        else:
            high = middle
    return low
