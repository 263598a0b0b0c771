"""Certificates by number, thousands a second: one is really issued, the others are it with another number in."""

from cryptography.hazmat.primitives import serialization

from certwatch.plugins.testing import make_ca, make_certificate

_SERIAL = 0x5ADDBEEF_00000000_00000001
_NAME = "host-0000000.example.com"


class NumberedCertificates:
    """Each parsable, with serial, subject, names, key and fingerprint of its own; the signature is the first one's."""

    def __init__(self) -> None:
        issuer = make_ca("Numbered Intermediate", issuer=make_ca("Numbered Root"), key_number=101)
        issued = make_certificate(
            names=(f"dns:{_NAME}", "dns:www.example.net"), issuer=issuer, serial_number=_SERIAL
        )
        #: DER of what issued them.
        self.issuer = issuer.der
        self._template = issued.der
        self._serial = self._template.index(_SERIAL.to_bytes(12, "big"))
        self._names = [
            at for at in range(len(self._template)) if self._template.startswith(_NAME.encode(), at)
        ]
        assert len(self._names) == 2, "common name and alternative name"
        point = issued.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self._key = self._template.index(point) + len(point) - 8

    def leaf(self, number: int) -> bytes:
        """Subject and first name are host-NUMBER.example.com, seven digits."""
        der = bytearray(self._template)
        der[self._serial + 4 : self._serial + 12] = number.to_bytes(8, "big")
        # On no curve any more, which nobody looks at: a key of its own, as certificates have.
        der[self._key : self._key + 8] = number.to_bytes(8, "big")
        for at in self._names:
            der[at + 5 : at + 12] = b"%07d" % (number % 10_000_000)
        return bytes(der)
