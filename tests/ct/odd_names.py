"""Certificates whose names are written so that somebody overlooks them: real DER, unsigned."""

from collections.abc import Iterator, Sequence

from certwatch.x509.tlv import encode

UTF8, PRINTABLE, TELETEX, IA5, UNIVERSAL, BMP, OCTETS = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E, 0x04
_ALGORITHM = encode(0x30, bytes.fromhex("06082a8648ce3d040302"))
_VALIDITY = encode(0x30, encode(0x17, b"260101000000Z") + encode(0x17, b"270101000000Z"))
KEY = encode(
    0x30,
    bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107") + encode(0x03, b"\0\4" + bytes(range(64))),
)
ISSUER = encode(
    0x30, encode(0x31, encode(0x30, bytes.fromhex("0603550403") + encode(PRINTABLE, b"Example CA X1")))
)


def attribute(oid: str, tag: int, value: bytes) -> bytes:
    return encode(0x30, encode(0x06, bytes.fromhex(oid)) + encode(tag, value))


def common_name(value: bytes | str, tag: int = UTF8) -> bytes:
    code = {BMP: "utf-16-be", UNIVERSAL: "utf-32-be", TELETEX: "latin-1"}.get(tag, "utf-8")
    return attribute("550403", tag, value.encode(code) if isinstance(value, str) else value)


def name(*relative: Sequence[bytes]) -> bytes:
    """Each a relative name: one attribute or several."""
    return encode(0x30, b"".join(encode(0x31, b"".join(each)) for each in relative))


def extension(oid: bytes, value: bytes, critical: bool = False) -> bytes:
    return encode(0x30, encode(0x06, oid) + (b"\1\1\xff" if critical else b"") + encode(0x04, value))


def san(*names: bytes) -> bytes:
    """Each a whole GeneralName."""
    return extension(b"\x55\x1d\x11", encode(0x30, b"".join(names)))


def dns(value: bytes | str) -> bytes:
    return encode(0x82, value.encode() if isinstance(value, str) else value)


def tbs(
    *extensions: bytes,
    subject: bytes = b"\x30\0",
    serial: int = 77,
    version: bytes = b"\xa0\3\2\1\2",
    key: bytes = KEY,
) -> bytes:
    return encode(
        0x30,
        version
        + encode(0x02, serial.to_bytes(8, "big"))
        + _ALGORITHM
        + ISSUER
        + _VALIDITY
        + subject
        + key
        + (encode(0xA3, encode(0x30, b"".join(extensions))) if extensions else b""),
    )


def certificate(*extensions: bytes, subject: bytes = b"\x30\0", serial: int = 77, key: bytes = KEY) -> bytes:
    """The signature is none: nothing here verifies it."""
    return encode(
        0x30,
        tbs(*extensions, subject=subject, serial=serial, key=key)
        + _ALGORITHM
        + encode(0x03, b"\0" + bytes(64)),
    )


#: Watched in what follows.
WATCHED = (".example.com", "sub.watched.org", ".bücher.de")
OTHER = dns("www.unrelated.net")


def tricks() -> Iterator[tuple[str, bytes]]:
    """What each does, and a certificate that a watcher of `WATCHED` must not miss."""
    written: dict[str, bytes | str] = {
        "exact": "example.com",
        "below": "a.b.example.com",
        "upper case": "WWW.EXAMPLE.COM",
        "trailing dot": "www.example.com.",
        "leading dot": ".example.com",
        "leading space": " www.example.com",
        "in a URL": "https://www.example.com/path",
        "with a slash": "www.example.com/x",
        "with a port": "www.example.com:443",
        "NUL behind": b"www.example.com\0.evil.net",
        "NUL inside a label": b"www.exam\0ple.com",
        "control character": b"www.exam\x07ple.com",
        "wildcard": "*.example.com",
        "wildcard beside": "*.watched.org",
        "wildcard above": "*.com",
        "wildcard in a label": "ex*.com",
        "wildcard in the middle": "s*b.watched.org",
        "redacted": "?.watched.org",
        "underscore": "_dmarc.example.com",
        "A-label": "xn--bcher-kva.de",
        "A-label in upper case": "XN--BCHER-KVA.DE",
        "U-label": "bücher.de",
        "U-label in upper case": "BÜCHER.DE",
        "U-label in Latin-1": "bücher.de".encode("latin-1"),
        "U-label decomposed": "bu\u0308cher.de",
        "full width": "ｅｘａｍｐｌｅ.com",
        "ideographic dot": "www.example。com",
        "soft hyphen": "exam\u00adple.com",
        "false A-label": "xn--example-.com",
        "longer than 127": ".".join(["a" * 60] * 3) + ".example.com",
    }
    for what, each in written.items():
        yield f"dNSName, {what}", certificate(san(OTHER, dns(each)))
    yield "wildcard outside a U-label", certificate(san(OTHER, dns("*.xn--bcher-kva.de")))
    for what, general in {
        "URI": encode(0x86, b"https://www.example.com/"),
        "mail": encode(0x81, b"somebody@example.com"),
        "directoryName": encode(0xA4, name([common_name("www.example.com")])),
        "SRVName": encode(
            0xA0, bytes.fromhex("06082b06010505070807") + encode(0xA0, encode(IA5, b"_https.example.com"))
        ),
        "dNSName in pieces": encode(0xA2, encode(IA5, b"www.exam") + encode(IA5, b"ple.com")),
        "dNSName with a long length": b"\x82\x81\x0b" + b"example.com",
        "address as text": encode(0x87, b"www.example.com"),
    }.items():
        yield f"SAN, {what}", certificate(san(OTHER, general))
    yield (
        "SAN with a zero byte behind",
        certificate(extension(b"\x55\x1d\x11", encode(0x30, OTHER + dns("www.example.com")) + b"\0")),
    )
    yield "two SANs", certificate(san(OTHER), san(dns("www.example.com")))
    yield (
        "critical SAN",
        certificate(extension(b"\x55\x1d\x11", encode(0x30, dns("www.example.com")), critical=True)),
    )
    yield (
        "SAN with two values",
        certificate(
            encode(
                0x30,
                b"\x06\x03\x55\x1d\x11"
                + encode(4, encode(0x30, OTHER))
                + encode(4, encode(0x30, dns("example.com"))),
            )
        ),
    )
    yield (
        "SAN in pieces",
        certificate(
            encode(
                0x30,
                b"\x06\x03\x55\x1d\x11" + encode(0x24, encode(4, encode(0x30, OTHER + dns("example.com")))),
            )
        ),
    )
    whole = encode(0x30, OTHER + dns("www.example.com"))
    yield (
        "SAN of indefinite length",
        certificate(extension(b"\x55\x1d\x11", b"\x30\x80" + whole[2:] + b"\0\0")),
    )
    yield "SAN that is no SEQUENCE", certificate(extension(b"\x55\x1d\x11", OTHER + dns("www.example.com")))
    yield (
        "SAN with a name cut off",
        certificate(extension(b"\x55\x1d\x11", encode(0x30, OTHER + b"\x82\x20www.example.com"))),
    )
    for what, tag in (
        ("UTF8", UTF8),
        ("Printable", PRINTABLE),
        ("Teletex", TELETEX),
        ("BMP", BMP),
        ("Universal", UNIVERSAL),
        ("OCTET", OCTETS),
    ):
        yield f"CN alone, {what}", certificate(subject=name([common_name("www.example.com", tag)]))
        yield (
            f"CN beside a SAN, {what}",
            certificate(san(OTHER), subject=name([common_name("www.example.com", tag)])),
        )
    for what, value in {
        "with a NUL": common_name(b"www.example.com\0.evil.net"),
        "with words": common_name("Certificate of www.example.com"),
        "BMP U-label": common_name("bücher.de", BMP),
        "BMP of odd length": common_name("www.example.com".encode("utf-16-be") + b"x", BMP),
        "invalid UTF-8": common_name(b"\xff.example.com"),
        "in pieces": attribute("550403", 0x2C, encode(UTF8, b"www.exam") + encode(UTF8, b"ple.com")),
    }.items():
        yield f"CN, {what}", certificate(san(OTHER), subject=name([value]))
    yield (
        "CN, the second",
        certificate(
            san(OTHER), subject=name([common_name("www.unrelated.net")], [common_name("www.example.com")])
        ),
    )
    yield (
        "CN, second of a relative name",
        certificate(
            san(OTHER), subject=name([attribute("55040a", UTF8, b"Somebody"), common_name("www.example.com")])
        ),
    )
    plain = certificate(san(OTHER, dns("www.example.com")))
    yield "cut off", plain[: plain.index(b"example.com") + 11]
    yield "byte behind the end", plain + b"\0"
    yield (
        "version 1",
        encode(
            0x30,
            tbs(subject=name([common_name("example.com")]), version=b"") + _ALGORITHM + encode(3, b"\0" * 9),
        ),
    )
    yield "not minimal length", b"\x30\x84" + (len(plain) - 4).to_bytes(4, "big") + plain[4:]
    yield "indefinite length", b"\x30\x80" + plain[4:] + b"\0\0"
    yield "no certificate at all", b"\0\1\2 www.example.com \xff"


def harmless() -> Iterator[tuple[str, bytes]]:
    for each in (
        "other.watched.org",
        "notexample.com",
        "example.com.evil.net",
        "example.org",
        "*.evil.net",
        "bucher.de",
        "xn--bchr-loa.de",
        "com",
        "*",
        "example-com.net",
        "ехample.com",  # Cyrillic
    ):
        yield each, certificate(san(dns(each)), subject=name([common_name(each)]))
    yield "an address", certificate(san(encode(0x87, bytes((192, 0, 2, 1)))))
    yield (
        "an organisation",
        certificate(san(OTHER), subject=name([attribute("55040a", UTF8, b"example.com")])),
    )
