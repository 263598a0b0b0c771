from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.certificate_message import MOST, TLS13, Presented, read_certificate, read_status

TLS12 = 0x0303
CHAINS = st.lists(st.binary(min_size=1, max_size=300), max_size=6)


def counted(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def tls12(chain: list[bytes]) -> bytes:
    return b"\x0b" + counted(counted(b"".join(counted(each, 3) for each in chain), 3), 3)


def tls13(chain: list[bytes], extensions: bytes = b"", context: bytes = b"") -> bytes:
    entries = b"".join(
        counted(each, 3) + counted(extensions if position == 0 else b"", 2)
        for position, each in enumerate(chain)
    )
    return b"\x0b" + counted(counted(context, 1) + counted(entries, 3), 3)


@given(CHAINS)
def test_the_chain_comes_back_in_order(chain: list[bytes]) -> None:
    assert read_certificate(tls12(chain), TLS12) == Presented(tuple(chain))
    assert read_certificate(tls13(chain), TLS13) == Presented(tuple(chain))


def test_the_staple_stands_among_the_first_certificates_extensions() -> None:
    status = b"\x01" + counted(b"response", 3)
    extensions = b"\x00\x12" + counted(b"scts", 2) + b"\x00\x05" + counted(status, 2)
    presented = read_certificate(tls13([b"leaf", b"issuer"], extensions, b"ctx"), TLS13)
    assert presented == Presented((b"leaf", b"issuer"), b"response", b"scts")


def test_what_is_cut_off_is_left_out() -> None:
    message = tls12([b"leaf", b"issuer"])
    assert read_certificate(message[:-1], TLS12).chain == (b"leaf",)
    assert read_certificate(message[:9], TLS12).chain == ()
    assert read_status(b"\x01\x00\x00\x09short") is None
    assert read_status(b"\x02\x00\x00\x01x") is None


@given(st.binary(max_size=400), st.sampled_from([0x0301, TLS12, TLS13]))
def test_any_bytes_are_read_without_an_error(data: bytes, version: int) -> None:
    presented = read_certificate(data, version)
    assert all(each and each in data for each in presented.chain)
    read_status(data)


@given(CHAINS, st.binary(max_size=40), st.integers(0, 2000))
def test_a_broken_message_gives_a_beginning_or_nothing(chain: list[bytes], junk: bytes, cut: int) -> None:
    message = tls13(chain, junk)
    presented = read_certificate(message[:cut], TLS13)
    assert presented.chain == tuple(chain)[: len(presented.chain)]


def test_no_more_are_taken_than_a_path_may_have() -> None:
    # A server filled the inventory with 20,000 certificates a look, others each time.
    many = [b"0\x02" + each.to_bytes(2, "big") for each in range(20_000)]
    for message, version in ((tls12(many), TLS12), (tls13(many), TLS13)):
        assert read_certificate(message, version).chain == tuple(many[:MOST])
