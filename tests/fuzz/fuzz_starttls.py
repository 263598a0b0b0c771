"""Every dialogue before TLS. The first byte chooses the protocol, the second how what arrives is cut."""

from certwatch.doors.dialogue import MAX_REPLY, Conversation
from certwatch.doors.failure import LookFailed
from collectors.tls.starttls import PROTOCOLS

_NAMES = sorted(PROTOCOLS)


def seeds() -> list[bytes]:
    smtp = b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n"
    head = bytes([_NAMES.index("smtp"), 0])
    return [
        head + smtp,
        head + b"554 no\r\n",
        *(bytes([each, 3]) + b"+OK\r\n" for each in range(len(_NAMES))),
    ]


def TestOneInput(data: bytes) -> None:
    if len(data) < 2:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    step = data[1] or MAX_REPLY
    conversation = Conversation(PROTOCOLS[name].dialogue("host:1"), "host:1")
    try:
        conversation.start()
        for at in range(2, len(data), step):
            if conversation.done:
                break
            conversation.receive(data[at : at + step])
    except LookFailed as failed:
        assert failed.error.message.isprintable()
    finally:
        conversation.close()
