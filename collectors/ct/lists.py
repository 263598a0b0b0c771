"""What to read and what to look for: the list of logs, and the watch list, from files and URLs, read anew without a restart."""

import base64
import binascii
import hashlib
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from certwatch.ct.heads import LogKey
from certwatch.ct.log_list import FOLLOWED, Log, LogList, clean_url, parse_log_list, verify_signature
from certwatch.ct.malformed import Malformed
from certwatch.ct.watch import Item, WatchError, WatchList, parse_item, parse_key, parse_network
from certwatch.doors.fetch import Fetcher, FetchError
from certwatch.plugins.collector import CollectError
from collectors.ct.config import CTConfig, ExtraLog

MAX_LIST = 16 << 20
MAX_DOMAINS = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    watch: WatchList
    #: Digest of each item, so that it can be told which are new.
    digests: frozenset[str]


async def read_logs(config: CTConfig, fetcher: Fetcher, user_agent: str) -> LogList:
    """Those that are to be followed. Raises CollectError: there is no list, or it must not be believed."""
    logs: dict[str, Log] = {}
    version, at, skipped = "", None, tuple[str, ...]()
    if config.log_list is not None:
        try:
            data = await _get(config.log_list, fetcher, user_agent)
            if config.log_list_key is not None:
                signature = await _get(_signature_of(config.log_list), fetcher, user_agent)
                key = await _get(config.log_list_key, fetcher, user_agent)
                verify_signature(data, signature, key)
            found = parse_log_list(data)
        except (Malformed, OSError) as error:
            raise CollectError(
                "malformed" if isinstance(error, Malformed) else "not-found",
                f"log list {config.log_list}: {error}",
            ) from error
        except FetchError as error:
            raise CollectError(error.kind, f"log list: {error.message}") from error
        version, at, skipped = found.version, found.at, found.skipped
        logs = {each.name: each for each in found.logs if each.state in FOLLOWED}
    for extra in config.logs:
        try:
            log = extra_log(extra)
        except Malformed as error:
            raise CollectError("malformed", f"log {extra.url}: {error}") from error
        logs[log.name] = log
    chosen = [
        each for each in logs.values() if not config.only or any(part in each.name for part in config.only)
    ]
    if not chosen:
        why = f" ({skipped[0]})" if skipped else ""
        raise CollectError("not-found", f"no log is left to follow{why}: see log_list, logs and only")
    return LogList(logs=tuple(chosen), version=version, at=at, skipped=skipped, known=tuple(logs.values()))


def _signature_of(list_: str) -> str:
    """Beside the list: log_list.json, log_list.sig."""
    return list_.removesuffix(".json") + ".sig"


async def _get(source: str, fetcher: Fetcher, user_agent: str) -> bytes:
    if source.startswith(("https://", "http://")):
        headers = {"User-Agent": user_agent, "Accept-Encoding": "gzip, identity"}
        return (await fetcher.get(source, headers=headers, max_bytes=MAX_LIST)).body
    data = Path(source).read_bytes()  # noqa: ASYNC240 - a small file
    if len(data) > MAX_LIST:
        raise Malformed(f"{len(data)} bytes")
    return data


def file_marks(config: CTConfig) -> tuple[tuple[int, int, int] | None, ...]:
    """Another one: a file that the config names was changed. None: it is a URL, or not there."""
    found: list[tuple[int, int, int] | None] = []
    for each in (config.domains_file, config.log_list):
        try:
            said = os.stat(each) if each is not None else None
        except (OSError, ValueError):
            said = None
        found.append((said.st_mtime_ns, said.st_size, said.st_ino) if said is not None else None)
    return tuple(found)


def extra_log(extra: ExtraLog) -> Log:
    """Raises Malformed."""
    text = "".join(line for line in extra.key.split() if line).replace("-----BEGINPUBLICKEY-----", "")
    try:
        key = LogKey.read(base64.b64decode(text.replace("-----ENDPUBLICKEY-----", ""), validate=True))
    except (binascii.Error, ValueError) as error:
        raise Malformed("its key is neither PEM nor base64") from error
    url = clean_url(extra.url)
    submission = clean_url(extra.submission_url) if extra.submission_url else url
    return Log(
        description=extra.description or url.partition("://")[2],
        operator=extra.operator,
        key=key,
        kind=extra.kind,
        url=url,
        origin=submission.partition("://")[2] if extra.kind == "static" else "",
        mmd=extra.mmd,
        state="usable",
    )


def read_watched(config: CTConfig, own_keys: Iterable[bytes] = ()) -> Watched:
    """Blocking. Raises CollectError: a file cannot be read, or holds what is no name."""
    items: list[Item] = []
    try:
        items = [parse_item(each) for each in config.domains]
        if config.domains_file is not None:
            items += _items_of(Path(config.domains_file))
        watch = WatchList.make(
            items,
            networks=[parse_network(each) for each in config.addresses],
            organisations=config.organizations,
            keys=[*(parse_key(each) for each in config.keys), *own_keys],
        )
    except OSError as error:
        raise CollectError("not-found", f"{config.domains_file}: {error.strerror or error}") from error
    except WatchError as error:
        raise CollectError("malformed", str(error)) from error
    if not watch and not config.own_keys:
        # An editor that writes a file anew empties it first.
        raise CollectError(
            "not-found", f"{config.domains_file}: no name is in it, and there is nothing to watch"
        )
    return Watched(watch=watch, digests=frozenset(item_digest(each) for each in watch.items))


def item_digest(item: Item) -> str:
    return base64.b64encode(hashlib.sha256(item.text.encode()).digest()[:9]).decode()


def _items_of(path: Path) -> list[Item]:
    """One a line; "#" begins a comment. Raises OSError, WatchError."""
    if path.stat().st_size > MAX_DOMAINS:
        raise WatchError(f"{path}: more than {MAX_DOMAINS} bytes")
    found = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                found.append(parse_item(text))
            except WatchError as error:
                raise WatchError(f"{path}:{number}: {error}") from error
    return found


def tls_context(more: str | None) -> ssl.SSLContext:
    """The system's CAs, and those of a file. Blocking. Raises CollectError."""
    context = ssl.create_default_context()
    if more is not None:
        try:
            context.load_verify_locations(more)
        except (OSError, ssl.SSLError) as error:
            raise CollectError("not-found", f"tls_ca {more}: {error}") from error
    return context
