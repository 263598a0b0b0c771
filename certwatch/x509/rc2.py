"""RC2 in CBC mode (RFC 2268): what nearly every PKCS#12 file older than 2021 hides its certificates with.

It protects nothing any more, and libraries drop it; the key here has 40 effective bits and guards public data. Slow
(some 10 µs a block), so that the caller bounds the input.
"""

import struct

from certwatch.x509.tlv import Unreadable

# PITABLE (RFC 2268, 2): derived from the digits of pi.
_PI = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2179a59f587b34f1361456d8d09817d32"
    "bd8f40eb86b77b0bf09521225c6b4e8254d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed708e8eade8052eef784aa72ac354d6a2a"
    "961ad2715a1549744b9fd05e0418a4ecc2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b255597"
    "312d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a90d38341bab33ffb0bb480c5fb9b1cd"
    "2ec5f3db47e5a59c770aa62068fe7fc1ad"
)
#: Rounds before each of the two mashes and after them (3.3).
_MIXES = (5, 6, 5)


def decrypt_cbc(key: bytes, effective_bits: int, iv: bytes, ciphertext: bytes) -> bytes:
    """Plain text with its padding. Raises Unreadable: not whole blocks."""
    if len(ciphertext) % 8 or len(iv) != 8 or not 0 < len(key) <= 128:
        raise Unreadable("not whole blocks of RC2")
    words = _expand(key, effective_bits)
    plain = bytearray()
    previous = iv
    for position in range(0, len(ciphertext), 8):
        block = ciphertext[position : position + 8]
        clear = int.from_bytes(_block(words, block), "big") ^ int.from_bytes(previous, "big")
        plain += clear.to_bytes(8, "big")
        previous = block
    return bytes(plain)


def _expand(key: bytes, effective_bits: int) -> tuple[int, ...]:
    """The 64 words of RFC 2268, 2."""
    size = (effective_bits + 7) // 8
    buffer = bytearray(key)
    for index in range(len(key), 128):
        buffer.append(_PI[(buffer[index - 1] + buffer[index - len(key)]) & 0xFF])
    buffer[128 - size] = _PI[buffer[128 - size] & (0xFF >> (8 * size - effective_bits))]
    for index in range(127 - size, -1, -1):
        buffer[index] = _PI[buffer[index + 1] ^ buffer[index + size]]
    return struct.unpack("<64H", buffer)


def _block(words: tuple[int, ...], block: bytes) -> bytes:
    """Decryption of one block (RFC 2268, 4): the rounds backwards."""
    r0, r1, r2, r3 = struct.unpack("<4H", block)
    at = 63
    for number, mixes in enumerate(_MIXES):
        if number:
            r3 = (r3 - words[r2 & 63]) & 0xFFFF
            r2 = (r2 - words[r1 & 63]) & 0xFFFF
            r1 = (r1 - words[r0 & 63]) & 0xFFFF
            r0 = (r0 - words[r3 & 63]) & 0xFFFF
        for _ in range(mixes):
            r3 = ((r3 << 11 | r3 >> 5) & 0xFFFF) - words[at] - (r2 & r1) - (~r2 & r0) & 0xFFFF
            r2 = ((r2 << 13 | r2 >> 3) & 0xFFFF) - words[at - 1] - (r1 & r0) - (~r1 & r3) & 0xFFFF
            r1 = ((r1 << 14 | r1 >> 2) & 0xFFFF) - words[at - 2] - (r0 & r3) - (~r0 & r2) & 0xFFFF
            r0 = ((r0 << 15 | r0 >> 1) & 0xFFFF) - words[at - 3] - (r3 & r2) - (~r3 & r1) & 0xFFFF
            at -= 4
    return struct.pack("<4H", r0, r1, r2, r3)
