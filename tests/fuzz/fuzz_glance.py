"""A server's first flight, as a sweep reads it. The first byte says how what arrives is cut."""

from certwatch.doors.glance import Glance
from tests.doors.test_glance import FLIGHT, HELLO, message, record


def seeds() -> list[bytes]:
    return [
        b"\0" + FLIGHT,
        b"\x07" + FLIGHT,
        b"\0" + record(b"\x02\x28", kind=21),
        b"\0" + record(HELLO, message(11, b"\0\0\x05\0\0\x02ab")),
        b"\0220 mx\r\n",
    ]


def TestOneInput(data: bytes) -> None:
    if len(data) < 2:
        return
    step = data[0] or len(data)
    glance = Glance("host:1", None, alpn=False)
    glance.step(b"")
    for at in range(1, len(data), step):
        _, failure = glance.step(data[at : at + step])
        if failure is not None:
            assert failure.message.isprintable()
            break
        if glance.done:
            break
    assert glance.done == bool(glance.presented().chain)
    glance.facts()
