"""Requests to APIs: servers that mean no good."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from certwatch.doors.rest import Client, RequestFailed, decoded_as


@contextmanager
def dripping() -> Iterator[int]:
    """A server that goes on answering, a byte at a time, until nobody listens."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        listener.close()
        thread.join(10)


@pytest.mark.timeout(60)
def test_an_answer_that_does_not_end_is_given_up() -> None:
    with (
        dripping() as port,
        Client(f"http://127.0.0.1:{port}", timeout=0.5) as client,
        pytest.raises(RequestFailed) as failed,
    ):
        client.get("/")
    assert failed.value.kind == "timeout"


@pytest.mark.parametrize("answer", [b'{"\xff": 1}', b'"\xff"', b"[" * 100_000, b"", b"\0"])
def test_bytes_that_are_no_json_are_told(answer: bytes) -> None:
    with pytest.raises(RequestFailed, match="not one of this API"):
        decoded_as(answer, dict[str, object], "ca.example:443")
