"""RC2 against the vectors of RFC 2268, 5, and against OpenSSL's."""

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import RC2
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from hypothesis import given
from hypothesis import strategies as st

from certwatch.x509.rc2 import decrypt_cbc
from certwatch.x509.tlv import Unreadable


@pytest.mark.parametrize(
    ("key", "bits", "plain", "sealed"),
    [
        ("0000000000000000", 63, "0000000000000000", "ebb773f993278eff"),
        ("ffffffffffffffff", 64, "ffffffffffffffff", "278b27e42e2f0d49"),
        ("3000000000000000", 64, "1000000000000001", "30649edf9be7d2c2"),
        ("88", 64, "0000000000000000", "61a8a244adacccf0"),
        ("88bca90e90875a", 64, "0000000000000000", "6ccf4308974c267f"),
        ("88bca90e90875a7f0f79c384627bafb2", 64, "0000000000000000", "1a807d272bbe5db1"),
        ("88bca90e90875a7f0f79c384627bafb2", 128, "0000000000000000", "2269552ab0f85ca6"),
    ],
)
def test_the_vectors_of_the_standard(key: str, bits: int, plain: str, sealed: str) -> None:
    assert decrypt_cbc(bytes.fromhex(key), bits, bytes(8), bytes.fromhex(sealed)) == bytes.fromhex(plain)


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=8, max_size=8),
    st.binary(max_size=64).map(lambda data: data[: len(data) // 8 * 8]),
)
def test_it_opens_what_openssl_sealed(key: bytes, iv: bytes, plain: bytes) -> None:
    encryptor = Cipher(RC2(key), modes.CBC(iv)).encryptor()
    assert decrypt_cbc(key, 128, iv, encryptor.update(plain) + encryptor.finalize()) == plain


def test_half_a_block_is_said_to_be_one() -> None:
    with pytest.raises(Unreadable, match="whole blocks"):
        decrypt_cbc(b"12345", 40, bytes(8), b"1234")
