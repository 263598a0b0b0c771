"""Targets as people write them."""

from collectors.tls.targets import MAX_CHARACTERS, parse, parse_exclusion


def seeds() -> list[bytes]:
    texts = (
        "www.example.com",
        "mx.example.com:25,587/smtp",
        "10.20.0.0/24:443,8443,9000-9010",
        "[2001:db8::1]:443",
        "2001:db8::/120",
        "fe80::1%eth0",
        "tls://192.0.2.1:443/?sni=a.example.com&protocol=smtp",
        "listening",
        "bücher.example",
    )
    return [text.encode() for text in texts]


def TestOneInput(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for read in (parse, parse_exclusion):
        try:
            read(text)
        except ValueError as error:
            # UnicodeError is one too, but says nothing to whoever wrote the target.
            assert type(error) is ValueError, error
            assert len(str(error)) < 400 + 4 * len(repr(text[:MAX_CHARACTERS]))
