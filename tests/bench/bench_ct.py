"""Reading CT logs, everything verified, and certspotter over the same log in the same run."""

import gzip
import time

from isal import isal_zlib

from certwatch.ct.leaves import split_tile
from certwatch.ct.merkle import Tree
from certwatch.ct.watch import WatchList, parse_item
from collectors.ct.sieve import Sieve, sift
from tests.bench.ct_stage import build, read, served
from tests.bench.result import Result
from tests.support.certspotter import certspotter

ENTRIES = 20_000
TILES = 80
REPEATS = 5
LOGS = 50


def names(count: int) -> list[str]:
    return [f".watched{number}.example" for number in range(count)]


def _rfc6962() -> list[Result]:
    with served(ENTRIES, static=False) as logs:
        (entry,) = logs
        ours = read([entry], static=False, domains=names(1000))
        with certspotter(entry, names(1000)) as other:
            other.wait(ENTRIES, seconds=120)
            theirs = other.cpu_seconds
    if ours["entries"] != ENTRIES:
        raise RuntimeError(f"{ours['entries']} of {ENTRIES} entries")
    return [
        Result(
            what="ct: RFC 6962, CPU an entry against certspotter's",
            measured=ours["cpu"] / theirs,
            unit="",
            target=0.33,
            how=f"{ENTRIES:,} entries, 1,000 watched names, over HTTP, verified: {ours['cpu'] / ENTRIES * 1e6:.0f} µs; "
            f"certspotter {theirs / ENTRIES * 1e6:.0f} µs",
        )
    ]


def _pipeline(packed: list[bytes], sieve: Sieve) -> float:
    """Entries a second of CPU: gunzip, framing, leaf hashes, prefilter, tree."""
    tree, began = Tree(), time.process_time()
    for each in packed:
        leaves, _ = split_tile(isal_zlib.decompress(each, wbits=31, bufsize=1 << 20))
        tree.extend(sift(leaves, sieve).hashes)
    return tree.size / (time.process_time() - began)


def _tiles() -> list[Result]:
    log = build(TILES * 256, static=True)
    packed = [gzip.compress(log.answer(f"tile/data/{each:03}", {}).body, 6) for each in range(TILES)]
    sieves = {
        count: Sieve.make(WatchList.make(map(parse_item, names(count)))) for count in (1, 1000, 100_000)
    }
    # In turn, so that what else the machine does meanwhile is the same for all.
    rounds = [{count: _pipeline(packed, sieve) for count, sieve in sieves.items()} for _ in range(REPEATS)]
    rates = {count: max(each[count] for each in rounds) for count in sieves}
    with served(TILES * 256, static=True) as logs:
        whole = read(logs, static=True, domains=names(1000))
    over_http = whole["entries"] / whole["cpu"]
    return [
        Result(
            what="ct: data tiles, entries a second of a core, 1,000 names",
            measured=rates[1000],
            unit="/s",
            target=100_000,
            at_least=True,
            how=f"gunzip (ISA-L), framing, hashes, tree, prefilter; the best of {REPEATS} over {TILES} tiles; whole collector, with HTTP: {over_http:,.0f}/s",
        ),
        Result(
            what="ct: the same with 100,000 names, against one",
            measured=rates[100_000] / rates[1],
            unit="",
            target=0.85,
            at_least=True,
            how=f"1: {rates[1]:,.0f}/s, 100,000: {rates[100_000]:,.0f}/s",
        ),
    ]


def _fifty() -> list[Result]:
    with served(3_000, static=True, copies=LOGS) as logs:
        read_up = read(logs, static=True, domains=names(1000))
    with served(3_000, static=True, copies=LOGS, growth=1000) as logs:
        idle = read(logs, static=True, domains=names(1000), start="end", rounds=1)
    return [
        Result(
            what="ct: largest memory, 50 logs at once",
            measured=read_up["memory"] / (1 << 20),
            unit="MiB",
            target=150,
            how=f"{read_up['entries']:,.0f} entries of {LOGS} static logs, from the beginning",
        ),
        Result(
            what="ct: CPU, 50 logs growing by 1,000 entries a second",
            measured=idle["cpu"] / idle["wall"] * 100,
            unit="% of a core",
            target=10,
            how=f"{idle['entries']:,.0f} entries in {idle['wall']:.0f} s",
        ),
    ]


def run() -> list[Result]:
    return [*_rfc6962(), *_tiles(), *_fifty()]
