"""How the command line asks the daemon that has the CA: one line of JSON there and one back, over a Unix socket in the
CA's folder that only the daemon's user and root may use."""

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from certwatch.ca.acts import perform
from certwatch.ca.failure import CAError
from certwatch.ca.people import who_logged_in
from certwatch.ca.service import Service
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

NAME = "ca.sock"
MAX_BYTES = 1 << 20
#: For a request to arrive.
READ_SECONDS = 10.0
#: For an answer: a token that is away, a CRL of a million entries.
ANSWER_SECONDS = 120.0


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """The socket's path. A long one does not fit into a socket's address (108 bytes): it goes by the open folder."""
    path = str(directory / NAME)
    if len(os.fsencode(path)) < 100 or not os.path.isdir("/proc/self/fd"):
        yield path
        return
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)


def ask_daemon(directory: Path, act: str, values: dict[str, Any]) -> dict[str, Any] | None:
    """None: no daemon has this CA. Raises CAError, the daemon's own too."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            with _short(directory) as path:
                connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None  # never started, or ended without tidying up
        except OSError as error:
            raise CAError(
                "locked", f"{directory / NAME}: the daemon cannot be asked: {error.strerror}"
            ) from error
        try:
            connection.sendall(msgspec.json.encode({"act": act, "values": values}) + b"\n")
            received = bytearray()
            while piece := connection.recv(1 << 16):
                received += piece
            answer = msgspec.json.decode(bytes(received), type=dict[str, Any])
        except (OSError, msgspec.MsgspecError) as error:
            raise CAError(
                "other",
                f"the daemon that has the CA in {directory} did not answer: see its log, and certwatch ca list",
            ) from error
    if "error" in answer:
        raise CAError(answer["error"]["kind"], answer["error"]["message"])
    return dict(answer["result"])


class LocalSocket:
    """Owned by the event loop's thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._directory = service.authority.settings.directory
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """The caller holds the CA's lock, so a socket that is there is nobody's. Raises CAError."""
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(self._directory) as path:
                (self._directory / NAME).unlink(missing_ok=True)
                # Bound before anybody may connect: the mode is set before it listens.
                bound.bind(path)
                os.chmod(self._directory / NAME, 0o600)
            bound.setblocking(False)
        except OSError as error:
            bound.close()
            raise CAError("other", f"{self._directory / NAME}: {error.strerror}") from error
        self._server = await asyncio.start_unix_server(self._answer, sock=bound, limit=MAX_BYTES)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            (self._directory / NAME).unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _may(writer):
                return
            async with asyncio.timeout(READ_SECONDS):
                line = await reader.readline()
            writer.write(await self._perform(line, who_logged_in(_peer(writer)[0])))
            async with asyncio.timeout(ANSWER_SECONDS):
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # it went away, or sent more than a line may have
        finally:
            writer.close()

    async def _perform(self, line: bytes, known: str | None) -> bytes:
        """`known`: who it is by the kernel's record, whatever they say. None: there is none."""
        try:
            asked = msgspec.json.decode(line, type=dict[str, Any])
            act, values = str(asked["act"]), dict(asked["values"])
            if known is not None:
                values |= {name: known for name in ("person", "submitter") if name in values}
            result = await self._service.act(lambda authority: perform(authority, act, values))
        except CAError as error:
            return msgspec.json.encode({"error": {"kind": error.kind, "message": error.message}})
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            return msgspec.json.encode(
                {"error": {"kind": "usage", "message": f"not what a CA can be asked: {error}"}}
            )
        log.info("ca_asked", act=act, by=values.get("person") or values.get("submitter") or "")
        return msgspec.json.encode({"result": result})


def _may(writer: asyncio.StreamWriter) -> bool:
    """Held twice: the socket's mode says it too, where the system heeds it."""
    return _peer(writer)[1] in (0, os.getuid())


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Process and user of who asks; this one's where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getpid(), os.getuid()
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    process, uid, _ = struct.unpack("3i", raw)
    return process, uid
