"""Where a config can lead, for what somebody else says that he saw on its behalf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.location import LocationURI, tls_location
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock
from collectors.tls import TLSCollector, TLSConfig
from collectors.tls.plan import Plan
from collectors.tls.targets import parse, parse_exclusion

TARGETS = [
    "www.example.com",
    "mx.example.com:25,587/smtp",
    "192.0.2.0/28:443,8443",
    "198.51.100.7",
    "tls://198.51.100.8:993/?sni=mail.example.com",
    "2001:db8::/124",
    "fe80::1%eth0",
]
EXCLUDED = ["192.0.2.3", "192.0.2.4:8443", "mx.example.com:587"]


def leads_to(location: str, **keys: object) -> bool | None:
    config = TLSConfig.model_validate({"targets": TARGETS, "exclude": EXCLUDED} | keys)
    return TLSCollector("edge", config, CollectorContext(clock=FakeClock())).leads_to(LocationURI(location))


@given(seed=st.integers(0, 2**64 - 1))
@pytest.mark.parametrize("server_name", [None, "all.example.com"])
def test_every_endpoint_of_a_scan_is_led_to(server_name: str | None, seed: int) -> None:
    targets = [parse(text) for text in TARGETS]
    plan = Plan(targets, [parse_exclusion(text) for text in EXCLUDED], server_name, seed=seed)
    for each in plan.endpoints():
        for host in (each.host, *(["203.0.113.9", "2001:db8:9::1"] if each.is_name else [])):
            place = tls_location(host, each.port, server_name=each.server_name, protocol=each.target.protocol)
            assert leads_to(place, server_name=server_name) is True, place


@pytest.mark.parametrize(
    "location",
    [
        "tls://192.0.2.16:443/",
        "tls://192.0.2.1:9443/",
        "tls://192.0.2.1:443/?sni=www.example.org",
        "tls://192.0.2.1:443/?protocol=smtp",
        "tls://198.51.100.8:993/",
        "tls://203.0.113.9:443/",
        "tls://203.0.113.9:25/?sni=www.example.com",
        "tls://other.example.com:443/?sni=www.example.com",
        # Never connected to.
        "tls://192.0.2.3:443/",
        "tls://192.0.2.4:8443/",
        "tls://203.0.113.9:587/?sni=mx.example.com&protocol=smtp",
        # Another text for a place that there is.
        "tls://192.0.2.1:443",
        "tls://192.0.2.1:0443/",
        "tls://192.0.2.1:443/x",
        "tls://192.0.2.1:443/#x",
        "tls://WWW.example.com:443/?sni=www.example.com",
        "tls://[2001:DB8::1]:443/",
        "tls://user@192.0.2.1:443/",
        "tls://192.0.2.1:99999/",
    ],
)
def test_a_place_that_no_target_leads_to_is_told(location: str) -> None:
    assert leads_to(location) is False


def test_a_list_elsewhere_may_name_whatever_is_not_excluded() -> None:
    keys = {"http_sd": ["https://cmdb.example.com/targets"]}
    assert leads_to("tls://192.0.2.1:443/", **keys) is True
    assert leads_to("tls://203.0.113.9:443/", **keys) is None
    assert leads_to("tls://192.0.2.3:443/", **keys) is False
    assert leads_to("tls://203.0.113.9:443/", targets=["listening"]) is None
