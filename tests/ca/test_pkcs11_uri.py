import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ca.failure import CAError
from certwatch.ca.pkcs11_uri import TokenURI, parse

GOOD = "pkcs11:token=my%20token;object=key;id=%01%ff?module-path=/usr/lib/x.so&pin-source=file:/etc/pin"


def test_a_uri_is_read() -> None:
    uri = parse(GOOD)
    assert (uri.token, uri.object, uri.id) == ("my token", "key", b"\x01\xff")
    assert (uri.module_path, uri.pin_source) == ("/usr/lib/x.so", "file:/etc/pin")


@given(
    st.builds(
        TokenURI,
        token=st.text(min_size=1, max_size=32).filter(str.isprintable),
        object=st.none() | st.text(max_size=20),
        id=st.none() | st.binary(max_size=20),
        module_path=st.text(min_size=1, max_size=30),
        pin_source=st.none() | st.text(max_size=30),
    )
)
def test_what_is_written_is_read_again(uri: TokenURI) -> None:
    assert parse(uri.public) == uri


def test_a_pin_is_never_shown() -> None:
    uri = parse("pkcs11:token=t?module-path=/x.so&pin-value=geheim")
    assert uri.pin_value == "geheim"
    assert "geheim" not in uri.public + repr(uri) + str(uri)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://x", "begins with pkcs11:"),
        ("pkcs11:token=t", "module-path"),
        ("pkcs11:?module-path=/x.so", "which token"),
        ("pkcs11:token=t;token=u?module-path=/x", "twice"),
        ("pkcs11:tokn=t?module-path=/x", '"tokn"'),
        ("pkcs11:token=%zz?module-path=/x", "percent"),
        ("pkcs11:token=%ff?module-path=/x", "UTF-8"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(CAError, match=says) as raised:
        parse(text)
    assert raised.value.kind == "usage"


def test_vendors_attributes_are_passed_over() -> None:
    assert parse("pkcs11:token=t;x-vendor=1?module-path=/x.so").token == "t"


@given(st.text(alphabet="pkcs11:;?&=%-token/ab0é\n", max_size=60).map("pkcs11:".__add__))
def test_any_text_is_a_uri_or_refused(text: str) -> None:
    try:
        parse(text)
    except CAError as error:
        assert error.kind == "usage"
