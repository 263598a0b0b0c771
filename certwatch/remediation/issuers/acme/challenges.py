"""Ways to show a CA that names are ours: a file, a listener, a record by RFC 2136, a command. Blocking, all of them."""

import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.tsig
import dns.tsigkeyring
import dns.update

#: Of a challenge (RFC 8555, 8.3): it becomes the name of a file.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,512}")
DNS_SECONDS = 10.0
TTL = 60
FOLDER = ".well-known/acme-challenge"


class ChallengeFailed(Exception):
    """What is to be shown cannot be: where, and why."""


class Way(Protocol):
    #: "http-01" or "dns-01".
    kind: str

    @contextmanager
    def shown(self, name: str, token: str, value: str) -> Iterator[None]:
        """`value`: what the page, or the record, is to say. Taken away in the end. Raises ChallengeFailed."""
        ...


def checked_token(token: str) -> str:
    """Raises ChallengeFailed."""
    if not _TOKEN.fullmatch(token):
        raise ChallengeFailed(f"the CA's token is none: {token[:50]!r}")
    return token


class Webroot:
    kind = "http-01"

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder, FOLDER)

    @contextmanager
    def shown(self, name: str, token: str, value: str) -> Iterator[None]:
        path = self._folder / checked_token(token)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(value)
            # The web server is somebody else.
            path.chmod(0o644)
        except OSError as error:
            raise ChallengeFailed(f"{path}: {error.strerror}") from error
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


class Standalone:
    """Listens while anything is shown. Belongs to one order."""

    kind = "http-01"

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._pages: dict[str, bytes] = {}
        self._open: ThreadingHTTPServer | None = None

    @contextmanager
    def shown(self, name: str, token: str, value: str) -> Iterator[None]:
        path = f"/{FOLDER}/{checked_token(token)}"
        self._pages[path] = value.encode()
        try:
            with self._listening() if self._open is None else nullcontext():
                yield
        finally:
            del self._pages[path]

    @contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            server = ThreadingHTTPServer(self._address, _handler(self._pages))
        except OSError as error:
            where = f"{self._address[0]}:{self._address[1]}"
            raise ChallengeFailed(f"{where}: cannot listen: {error.strerror}") from error
        with server:
            self._open = server
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._open = None
                server.shutdown()
                thread.join(10)


def _handler(pages: Mapping[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("content-type", "application/octet-stream")
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


class Update:
    """Dynamic updates (RFC 2136), signed by TSIG where a key is given."""

    kind = "dns-01"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        zone: str | None,
        key_name: str | None,
        key_secret: str | None,
        algorithm: str,
    ) -> None:
        self._host, self._port = host, port
        self._zone = zone
        self._algorithm = dns.name.from_text(algorithm)
        self._keys = (
            dns.tsigkeyring.from_text({key_name: key_secret})
            if key_name is not None and key_secret is not None
            else None
        )

    @contextmanager
    def shown(self, name: str, token: str, value: str) -> Iterator[None]:
        record = dns.name.from_text(f"_acme-challenge.{name}")
        zone = dns.name.from_text(self._zone) if self._zone is not None else self._zone_of(record)
        self._send(zone, "add", record, value)
        try:
            yield
        finally:
            with suppress(ChallengeFailed):
                self._send(zone, "delete", record, value)

    def _zone_of(self, record: dns.name.Name) -> dns.name.Name:
        """The nearest name above that the server is asked for its SOA and has one."""
        name = record
        while len(name.labels) > 1:
            answer = self._ask(dns.message.make_query(name, "SOA"))
            for each in (*answer.answer, *answer.authority):
                if each.rdtype == dns.rdatatype.SOA and record.is_subdomain(each.name):
                    return each.name
            name = name.parent()
        raise ChallengeFailed(f"{self._where}: has no zone for {record}. Give zone:")

    def _send(self, zone: dns.name.Name, act: str, record: dns.name.Name, value: str) -> None:
        update = dns.update.UpdateMessage(zone, keyring=self._keys, keyalgorithm=self._algorithm)
        if act == "add":
            update.add(record, TTL, "TXT", value)
        else:
            update.delete(record, "TXT", value)
        answer = self._ask(update)
        if answer.rcode() != dns.rcode.NOERROR:
            raise ChallengeFailed(
                f"{self._where}: refuses to {act} {record}: {dns.rcode.to_text(answer.rcode())}"
            )

    @property
    def _where(self) -> str:
        return f"{self._host}:{self._port}"

    def _ask(self, message: dns.message.Message) -> dns.message.Message:
        try:
            return dns.query.tcp(message, self._host, timeout=DNS_SECONDS, port=self._port)
        except (dns.exception.DNSException, OSError) as error:
            raise ChallengeFailed(f"{self._where}: {str(error) or type(error).__name__}") from error


class Hook:
    """A command of yours: it is called with "add" or "remove", the record's name, and what it is to say."""

    kind = "dns-01"

    def __init__(self, words: Sequence[str], seconds: float) -> None:
        self._words = tuple(words)
        self._seconds = seconds

    @contextmanager
    def shown(self, name: str, token: str, value: str) -> Iterator[None]:
        self._run("add", f"_acme-challenge.{name}", value)
        try:
            yield
        finally:
            with suppress(ChallengeFailed):
                self._run("remove", f"_acme-challenge.{name}", value)

    def _run(self, *more: str) -> None:
        shown = " ".join(self._words)[:200]
        try:
            done = subprocess.run(  # noqa: S603 - the user's own, word by word
                [*self._words, *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ChallengeFailed(f"{shown} {more[0]}: not done within {self._seconds:g} s") from error
        except OSError as error:
            raise ChallengeFailed(f"{shown}: cannot be run: {error.strerror}") from error
        if done.returncode:
            said = done.stdout[-500:].decode("utf-8", "backslashreplace").strip()
            raise ChallengeFailed(f"{shown} {more[0]}: ended with {done.returncode}: {said}")


@contextmanager
def all_shown(shown: Sequence[tuple[Way, str, str, str]]) -> Iterator[None]:
    """Of each: the way, the name, the token, and what is to be said. Raises ChallengeFailed."""
    with ExitStack() as stack:
        for way, name, token, value in shown:
            stack.enter_context(way.shown(name, token, value))
        yield
