"""A way between two programs that can be cut without a word, as a network does it: nothing comes through, nothing is closed."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Way:
    port: int
    #: Cleared: what is sent waits in the network.
    open: threading.Event = field(default_factory=threading.Event)

    def cut(self) -> None:
        self.open.clear()

    def mend(self) -> None:
        self.open.set()


@contextmanager
def way(to_port: int) -> Iterator[Way]:
    """Open at first."""
    listening = socket.create_server(("127.0.0.1", 0))
    it = Way(listening.getsockname()[1])
    it.open.set()
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def carry(client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", to_port)) as server:
            other = {client: server, server: client}
            while not ended.is_set():
                readable, _, _ = select.select([*other], [], [], 0.1)
                if not it.open.is_set():
                    ended.wait(0.05)
                    continue
                for each in readable:
                    data = each.recv(65536)
                    if not data:
                        return
                    other[each].sendall(data)

    def accept() -> None:
        listening.settimeout(0.1)
        while not ended.is_set():
            with suppress(TimeoutError):
                client, _ = listening.accept()
                threads.append(threading.Thread(target=carry, args=(client,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield it
    finally:
        it.open.set()
        ended.set()
        accepting.join()
        for each in threads:
            each.join()
        listening.close()
