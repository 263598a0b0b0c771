from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.tls import TLSConfig
from collectors.tls.targets import Ports, parse, parse_exclusion


def ports(*numbers: int) -> Ports:
    return tuple(range(number, number + 1) for number in numbers)


@pytest.mark.parametrize(
    ("text", "name", "probed"),
    [
        ("www.example.com", "www.example.com", ports(443)),
        (" WWW.Example.com. ", "www.example.com", ports(443)),
        ("www.example.com:8443", "www.example.com", ports(8443)),
        ("www.example.com:8443,443,444", "www.example.com", (range(443, 445), range(8443, 8444))),
        ("host:9000-9002, 9002-9010", "host", (range(9000, 9011),)),
        ("_sip._tcp.example.com:1-65535", "_sip._tcp.example.com", (range(1, 65536),)),
        ("bücher.example", "xn--bcher-kva.example", ports(443)),
        ("mx.example.com/smtp", "mx.example.com", ports(25)),
        ("mx.example.com:587/SMTP", "mx.example.com", ports(587)),
        ("tls://www.example.com", "www.example.com", ports(443)),
        ("tls://mx.example.com/?protocol=smtp", "mx.example.com", ports(25)),
    ],
)
def test_a_name_with_ports(text: str, name: str, probed: Ports) -> None:
    target = parse(text)
    assert (target.name, target.network, target.probed_ports) == (name, None, probed)
    assert target.text == text


@pytest.mark.parametrize(
    ("text", "network", "probed"),
    [
        ("192.0.2.1", "192.0.2.1", ports(443)),
        ("192.0.2.1:25/smtp", "192.0.2.1", ports(25)),
        ("10.20.0.0/24", "10.20.0.0/24", ports(443)),
        (
            "10.20.0.0/24:443,8443,9000-9010",
            "10.20.0.0/24",
            (range(443, 444), range(8443, 8444), range(9000, 9011)),
        ),
        ("10.0.0.0/8", "10.0.0.0/8", ports(443)),
        ("10.20.0.0/24/smtp", "10.20.0.0/24", ports(25)),
        ("2001:db8::1", "2001:db8::1", ports(443)),
        ("2001:DB8::/120", "2001:db8::/120", ports(443)),
        ("[2001:db8::1]", "2001:db8::1", ports(443)),
        ("[2001:db8::1]:8443", "2001:db8::1", ports(8443)),
        ("[2001:db8::]/120:8443", "2001:db8::/120", ports(8443)),
        ("[2001:db8::/120]:8443", "2001:db8::/120", ports(8443)),
        ("[fe80::1%eth0]:443", "fe80::1", ports(443)),
        ("tls://[2001:db8::1]:8443/", "2001:db8::1", ports(8443)),
        ("tls://203.0.113.7:443/?sni=www.example.com", "203.0.113.7", ports(443)),
    ],
)
def test_an_address_or_a_network_with_ports(text: str, network: str, probed: Ports) -> None:
    target = parse(text)
    assert (target.name, target.network, target.probed_ports) == (None, ip_network(network), probed)


def test_a_uri_says_its_server_name() -> None:
    target = parse("tls://203.0.113.7:443/?sni=WWW.example.com&protocol=smtp")
    assert (target.server_name, target.protocol) == ("www.example.com", "smtp")
    assert parse("[fe80::1%eth0]:443").zone == "eth0"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (":443", "host is missing"),
        ("host:", "is not a port"),
        ("host:https", "is not a port"),
        ("host:0", "1 to 65535"),
        ("host:65536", "1 to 65535"),
        ("host:20-10", "backwards"),
        ("host:443/imap4", "unknown protocol 'imap4' (known: smtp, submission"),
        ("10.20.0.5/24", "10.20.0.0/24"),
        ("10.20.0.0/33", "/33 is not a prefix length"),
        ("10.20.300.1", "neither an IPv4 address nor a name"),
        ("0.0.0.0/0:443", "too many"),
        ("10.0.0.0/7", "Use a /8"),
        ("2001:db8::/64", "Use a /104"),
        ("[2001:db8::1", "not a target"),
        ("[www.example.com]:443", "not an IPv6 address"),
        ("[192.0.2.1]:443", "brackets"),
        ("www.example.com/24", "is not an address"),
        ("www..example.com", "is not a host name"),
        ("www.exa mple.com", "is not a host name"),
        ("-x.example.com", "is not a host name"),
        ("a" * 64 + ".example.com", "is not a host name"),
        (".".join(["a" * 60] * 5), "253"),
        ("https://www.example.com", "scheme 'https' is not tls"),
        ("tls://www.example.com/path", "not of the form"),
        ("tls://www.example.com:99999", "out of range"),
        ("tls://www.example.com/?sin=x", "unknown key 'sin'"),
        ("tls://www.example.com/?protocol=x", "unknown protocol 'x'"),
    ],
)
def test_a_bad_target_is_named_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TLSConfig.model_validate({"targets": ["good.example", text]})
    (error,) = caught.value.errors()
    assert error["loc"] == ("targets", 1)
    assert says in error["msg"]
    assert repr(text) in error["msg"] or not text


def test_an_exclusion_is_hosts_and_ports_alone() -> None:
    assert parse_exclusion("10.0.0.0/8").ports is None
    assert parse_exclusion("www.example.com:443").ports == ports(443)
    with pytest.raises(ValidationError, match="an exclusion names"):
        TLSConfig.model_validate({"targets": ["a.example"], "exclude": ["mx.example.com/smtp"]})


def test_no_target_at_all_is_refused() -> None:
    with pytest.raises(ValidationError):
        TLSConfig.model_validate({"targets": []})


@given(st.text(max_size=40) | st.from_regex(r"\A[\[\]a-z0-9.:/,%-]{1,30}\Z"))
def test_any_text_is_a_target_or_an_error_of_ours(text: str) -> None:
    try:
        target = parse(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    assert (target.name is None) != (target.network is None)
    assert all(0 < span.start < span.stop <= 65536 for span in target.probed_ports)
