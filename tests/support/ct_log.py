"""A CT log for tests, over real HTTP: RFC 6962 and static-ct-api at once, exactly as they are written, and able to lie."""

import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from certwatch.ct.heads import LogKey, SignedHead
from certwatch.ct.leaves import join_chain, leaf_index_extension, make_leaf
from certwatch.ct.merkle import fold, leaf_hash, missing_subtrees, node_hash, proof_ranges
from certwatch.ct.notes import RFC6962, key_id
from certwatch.ct.scts import strip, tbs_of
from certwatch.plugins.testing import key
from certwatch.x509.der import fingerprint
from certwatch.x509.tlv import encode
from tests.ct.odd_names import ISSUER, certificate

#: 2026-11-01T00:00Z.
BEGIN_MS = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)
CA = certificate(subject=ISSUER, serial=1)
_POISON = encode(0x30, bytes.fromhex("060a2b06010401d679020403") + b"\1\1\xff" + b"\4\2\5\0")


def poisoned(certificate: bytes) -> bytes:
    """A precertificate: the certificate, whose last field of the TBS is its extensions, with the poison added."""
    from certwatch.x509.tlv import header

    tbs = tbs_of(certificate)
    _, start, end = header(tbs, 0, len(tbs))
    position = start
    while True:
        tag, first, stop = header(tbs, position, end)
        if tag == 0xA3:
            _, inner, last = header(tbs, first, stop)
            extensions = encode(0xA3, encode(0x30, tbs[inner:last] + _POISON))
            break
        position = stop
    _, outer, _ = header(certificate, 0, len(certificate))
    rest = certificate[outer + len(tbs) :]
    return encode(0x30, encode(0x30, tbs[start:position] + extensions) + rest)


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Tamper = Callable[[str, Mapping[str, str], Answer], Answer]


class TestLog:
    """The log itself. Entries are added by the test; what is published is its to say. Guarded by `lock`."""

    __test__ = False

    def __init__(
        self,
        *,
        kind: str = "ec",
        number: int = 50,
        indexed: bool = False,
        operator: str = "Test",
        name: str = "log",
    ) -> None:
        made = key(kind, number)
        assert isinstance(made, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        self.private = made
        self.key = LogKey.read(
            made.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        self.operator, self.name = operator, name
        #: With the index of each entry in it, as static logs have it.
        self.indexed = indexed
        self.leaves: list[bytes] = []
        self.extra: list[bytes] = []
        self.rest: list[bytes] = []
        #: Hashes of the complete subtrees, by height.
        self.levels: list[list[bytes]] = [[]]
        self.issuers = {fingerprint(CA): CA}
        #: Entries that the newest head has, and when that was signed, milliseconds.
        self.published = 0
        self.published_at = BEGIN_MS
        self.tamper: Tamper | None = None
        #: What its server says that the time is. None: nothing.
        self.date: datetime | None = None
        self.requests: list[str] = []
        self.user_agents: set[str] = set()
        self.page = 1000
        self.gzip = True
        #: A hybrid has data tiles without leaf indexes, and no checkpoint.
        self.speaks = {"rfc6962", "static"}
        self.lock = threading.RLock()
        self.url = ""

    def add(
        self,
        certificate: bytes,
        at: int | None = None,
        *,
        precertificate: bool = False,
        chain: Sequence[bytes] = (CA,),
    ) -> int:
        """Its index. `precertificate`: it is logged as one."""
        with self.lock:
            index = len(self.leaves)
            timestamp = at if at is not None else BEGIN_MS + index
            extensions = leaf_index_extension(index) if self.indexed else b""
            prints = b"".join(fingerprint(each) for each in chain)
            rest = len(prints).to_bytes(2, "big") + prints
            if precertificate:
                precert = poisoned(certificate)
                tbs, _ = strip(tbs_of(precert))
                leaf = make_leaf(
                    tbs, timestamp, issuer_key_hash=sha256(b"issuer").digest(), extensions=extensions
                )
                packed = len(precert).to_bytes(3, "big") + precert
                self.append(leaf, packed + join_chain(chain), packed + rest)
            else:
                leaf = make_leaf(certificate, timestamp, extensions=extensions)
                self.append(leaf, join_chain(chain), rest)
            return index

    def append(self, leaf: bytes, extra: bytes, rest: bytes) -> None:
        self.leaves.append(leaf)
        self.extra.append(extra)
        self.rest.append(rest)
        hash, height = leaf_hash(leaf), 0
        while True:
            if len(self.levels) <= height:
                self.levels.append([])
            self.levels[height].append(hash)
            if len(self.levels[height]) % 2:
                break
            hash = node_hash(*self.levels[height][-2:])
            height += 1

    def publish(self, at: int | None = None) -> SignedHead:
        with self.lock:
            self.published = len(self.leaves)
            self.published_at = (
                at if at is not None else max(self.published_at + 1, BEGIN_MS + self.published)
            )
            return self.head()

    def root(self, low: int, high: int) -> bytes:
        return fold([self.levels[height][index] for height, index in missing_subtrees(low, high)])

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            kind, made = 1, self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        else:
            kind, made = 3, self.private.sign(message, ec.ECDSA(hashes.SHA256()))
        return bytes((4, kind)) + len(made).to_bytes(2, "big") + made

    def head(self, size: int | None = None, at: int | None = None, root: bytes | None = None) -> SignedHead:
        size = self.published if size is None else size
        unsigned = SignedHead(
            size=size,
            root=root if root is not None else self.root(0, size),
            timestamp=self.published_at if at is None else at,
            signature=b"",
        )
        return SignedHead(
            size=size,
            root=unsigned.root,
            timestamp=unsigned.timestamp,
            signature=self.sign(unsigned.signed_bytes),
        )

    def checkpoint(self, head: SignedHead) -> bytes:
        origin = self.url.partition("://")[2]
        body = key_id(origin, RFC6962, self.key.log_id) + head.timestamp.to_bytes(8, "big") + head.signature
        packed = base64.b64encode(body).decode()
        text = f"{origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n"
        return f"{text}\n\N{EM DASH} {origin} {packed}\n".encode()

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        with self.lock:
            self.requests.append(path)
            try:
                made = self._answer(path, query)
            except (IndexError, KeyError, ValueError):
                made = Answer(400, b"bad request")
            return made if self.tamper is None else self.tamper(path, query, made)

    def _answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if path.startswith("ct/v1/") and "rfc6962" in self.speaks:
            return self._rfc6962(path.removeprefix("ct/v1/"), query)
        if path.startswith(("tile/data", "issuer/")) and ("static" in self.speaks or "hybrid" in self.speaks):
            return self._static(path)
        if "static" in self.speaks:
            return self._static(path)
        return Answer(404, b"nothing here")

    def _rfc6962(self, path: str, query: Mapping[str, str]) -> Answer:
        if path == "get-sth":
            return _json(self.head().to_json())
        if path == "get-entries":
            start, end = int(query["start"]), int(query["end"])
            if not 0 <= start <= end or start >= self.published:
                return Answer(400, b"need tree size")
            end = min(end, self.published - 1, start + self.page - 1)
            return _json({"entries": [self._entry(each) for each in range(start, end + 1)]})
        if path == "get-sth-consistency":
            first, second = int(query["first"]), int(query["second"])
            if not 0 < first <= second <= len(self.leaves):
                return Answer(400, b"first and second")
            return _json({"consistency": _packed(self.root(*each) for each in proof_ranges(first, second))})
        if path == "get-entry-and-proof":
            index, size = int(query["leaf_index"]), int(query["tree_size"])
            return _json({**self._entry(index), "audit_path": _packed(self.path(index, size))})
        if path == "get-proof-by-hash":
            index = self.levels[0].index(base64.b64decode(query["hash"]))
            return _json(
                {"leaf_index": index, "audit_path": _packed(self.path(index, int(query["tree_size"])))}
            )
        if path == "get-roots":
            return _json({"certificates": [base64.b64encode(CA).decode()]})
        return Answer(404, b"nothing here")

    def _entry(self, index: int) -> dict[str, str]:
        return {
            "leaf_input": base64.b64encode(self.leaves[index]).decode(),
            "extra_data": base64.b64encode(self.extra[index]).decode(),
        }

    def path(self, index: int, size: int) -> list[bytes]:
        if not 0 <= index < size <= len(self.leaves):
            raise IndexError(index)
        low, high, path = 0, size, list[bytes]()
        while high - low > 1:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            if index < middle:
                path.append(self.root(middle, high))
                high = middle
            else:
                path.append(self.root(low, middle))
                low = middle
        return path[::-1]

    def _static(self, path: str) -> Answer:
        if path == "checkpoint":
            return Answer(200, self.checkpoint(self.head()), {"Content-Type": "text/plain; charset=utf-8"})
        if path.startswith("issuer/"):
            return Answer(200, self.issuers[fingerprint_of(path.removeprefix("issuer/"))])
        _, level, *groups = path.split("/")
        width = 256
        if groups[-2:-1] and groups[-2].endswith(".p"):
            width = int(groups.pop())
            groups[-1] = groups[-1].removesuffix(".p")
        index = int("".join(each.removeprefix("x") for each in groups))
        if level == "data":
            if index * 256 + width > self.published:
                return Answer(404, b"no such tile")
            entries = range(index * 256, index * 256 + width)
            return Answer(200, b"".join(self.leaves[each][2:] + self.rest[each] for each in entries))
        hashes = self.levels[int(level) * 8][index * 256 : index * 256 + width]
        if len(hashes) < width:
            return Answer(404, b"no such tile")
        return Answer(200, b"".join(hashes))

    def list_entry(self, *, static: bool = False, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As a log list has it."""
        said: dict[str, Any] = {
            "description": f"{self.operator} {self.name}",
            "log_id": base64.b64encode(self.key.log_id).decode(),
            "key": base64.b64encode(self.key.der).decode(),
            "mmd": 86400,
            "state": state or {"usable": {"timestamp": "2026-01-01T00:00:00Z"}},
        }
        urls = (
            {"submission_url": self.url + "/", "monitoring_url": self.url + "/"}
            if static
            else {"url": self.url + "/"}
        )
        return said | urls

    def final_state(self) -> dict[str, Any]:
        head = self.head()
        return {
            "readonly": {
                "timestamp": "2026-11-20T00:00:00Z",
                "final_tree_head": {
                    "tree_size": head.size,
                    "sha256_root_hash": base64.b64encode(head.root).decode(),
                },
            }
        }


def fingerprint_of(text: str) -> Any:
    return bytes.fromhex(text)


def log_list(*entries: Mapping[str, Any], tiled: Sequence[Mapping[str, Any]] = ()) -> bytes:
    # The first word of a description is its operator: see `list_entry`.
    named = {each["description"].partition(" ")[0]: None for each in (*entries, *tiled)}
    operators = [
        {
            "name": name,
            "email": [],
            "logs": [each for each in entries if each["description"].startswith(f"{name} ")],
            "tiled_logs": [each for each in tiled if each["description"].startswith(f"{name} ")],
        }
        for name in named
    ]
    return json.dumps(
        {"version": "1.0", "log_list_timestamp": "2026-11-24T00:00:00Z", "operators": operators}
    ).encode()


def _json(said: object) -> Answer:
    return Answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})


def _packed(found: Iterator[bytes] | Sequence[bytes]) -> list[str]:
    return [base64.b64encode(each).decode() for each in found]


@contextmanager
def serving(*logs: TestLog, files: Mapping[str, bytes] | None = None) -> Iterator[str]:
    """Each log below its name; `files` beside them. The base URL."""
    by_name = {each.name: each for each in logs}
    others = files if files is not None else {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            name, _, path = parts.path.removeprefix("/").partition("/")
            query = {each: values[0] for each, values in parse_qs(parts.query).items()}
            log = by_name.get(name)
            if log is not None:
                log.user_agents.add(self.headers.get("User-Agent", ""))
                answer = log.answer(path, query)
            elif parts.path in others:
                answer = Answer(200, others[parts.path])
            else:
                answer = Answer(404, b"no such log")
            body = answer.body
            if (
                log is not None
                and log.gzip
                and "gzip" in self.headers.get("Accept-Encoding", "")
                and "Content-Encoding" not in answer.headers
            ):
                body = gzip.compress(body, 1)
                answer.headers["Content-Encoding"] = "gzip"
            # A log's own time, if it says one; else none, since tests have clocks of their own.
            self.send_response_only(answer.status)
            if log is not None and log.date is not None:
                self.send_header("Date", formatdate(log.date.timestamp(), usegmt=True))
            for header, value in {**answer.headers, "Content-Length": str(len(body))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that went away in the middle

    server = Server(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_port}"
    for each in logs:
        each.url = f"{base}/{each.name}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield base
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
