"""A network between two programs that can stop to carry anything, without a word to either, and go on."""

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread


class FrozenProxy:
    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ended = Event()
        self._carries = Event()
        self._carries.set()
        self._thread = Thread(target=self._carry, daemon=True)
        self._thread.start()

    def freeze(self) -> None:
        self._carries.clear()

    def thaw(self) -> None:
        self._carries.set()

    def close(self) -> None:
        self._ended.set()
        self._carries.set()
        self._thread.join(10)

    def _carry(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            try:
                while not self._ended.is_set():
                    self._carries.wait()
                    for key, _ in selector.select(0.05):
                        if not self._carries.is_set():
                            break
                        if key.fileobj is self._listener:
                            with suppress(OSError):
                                self._connect(selector)
                        else:
                            self._pass_on(selector, key.fileobj, key.data)  # type: ignore[arg-type]
            finally:
                for key in list(selector.get_map().values()):
                    key.fileobj.close()  # type: ignore[union-attr]

    def _connect(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            raise
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)

    @staticmethod
    def _pass_on(selector: selectors.BaseSelector, source: socket.socket, sink: socket.socket) -> None:
        if source.fileno() < 0:
            # Closed a moment ago, with its other side.
            return
        data = b""
        with suppress(OSError):
            data = source.recv(1 << 16)
            sink.sendall(data)
        if not data:
            for each in (source, sink):
                with suppress(KeyError):
                    selector.unregister(each)
                each.close()


@contextmanager
def frozen_proxy(target: int) -> Iterator[FrozenProxy]:
    """Carries, until it is frozen."""
    proxy = FrozenProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
