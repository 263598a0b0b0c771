"""Every dialogue before TLS. The first byte chooses the protocol, the second how what arrives is cut."""

from certwatch.doors.dialogue import MAX_REPLY, Conversation
from certwatch.doors.failure import LookFailed
from collectors.tls.starttls import PROTOCOLS
from tests.collectors.test_tls_starttls import LIES, TALKS

_NAMES = sorted(PROTOCOLS)


def seeds() -> list[bytes]:
    return [
        *(
            bytes([_NAMES.index(each.protocol), 0]) + b"".join(theirs for theirs, _ in each.steps)
            for each in TALKS
        ),
        *(bytes([number % len(_NAMES), 3]) + lie for number, lie in enumerate(LIES)),
    ]


def TestOneInput(data: bytes) -> None:
    if len(data) < 2:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    step = data[1] or MAX_REPLY
    conversation = Conversation(PROTOCOLS[name].dialogue("host:1", "im.example"), "host:1")
    try:
        conversation.start()
        for at in range(2, len(data), step):
            if not conversation.done:
                conversation.receive(data[at : at + step])
            elif conversation.carrier is not None:
                conversation.carrier.unwrap(data[at : at + step])
    except LookFailed as failed:
        assert failed.error.message.isprintable()
    finally:
        conversation.close()
