from collections.abc import Sequence
from ipaddress import ip_network
from itertools import islice, pairwise
from time import perf_counter

from hypothesis import given
from hypothesis import strategies as st

from collectors.tls.plan import Plan
from collectors.tls.targets import parse, parse_exclusion


def plan(
    targets: Sequence[str],
    exclude: Sequence[str] = (),
    server_name: str | None = None,
    *,
    seed: int | None = None,
) -> Plan:
    return Plan(
        [parse(each) for each in targets], [parse_exclusion(each) for each in exclude], server_name, seed=seed
    )


def places(made: Plan) -> list[str]:
    return [f"{each.host}:{each.port}" for each in made.endpoints()]


def test_every_port_of_every_address_of_a_network_is_walked() -> None:
    made = plan(["192.0.2.0/31:443,8443"])
    assert made.total == 4
    assert sorted(places(made)) == ["192.0.2.0:443", "192.0.2.0:8443", "192.0.2.1:443", "192.0.2.1:8443"]


def test_networks_are_walked_together_in_a_random_order_after_what_was_named() -> None:
    made = plan(["10.0.0.0/20", "a.example", "10.1.0.0/20:443,8443", "192.0.2.1"])
    found = places(made)
    assert found[:2] == ["a.example:443", "192.0.2.1:443"]
    assert len(set(found)) == len(found) == 2 + 4096 * 3
    # No network has its connections in a row: neighbours in time are of one /24 about as seldom as chance has it.
    nets = [each.rpartition(".")[0] for each in found[2:]]
    together = sum(one == other for one, other in pairwise(nets))
    assert together < len(nets) / 32 * 4
    assert places(plan(["10.0.0.0/20"])) != places(plan(["10.0.0.0/20"])), "each pass has an order of its own"


def test_a_walk_goes_on_where_it_was_left() -> None:
    texts = ["10.0.0.0/22:443,8443", "10.0.2.0/23:80-90", "a.example"]
    first = plan(texts, ["10.0.1.0/24:443"])
    walk = first.endpoints()
    seen = list(islice(walk, 1000))
    rest = list(walk)
    again = plan(texts, ["10.0.1.0/24:443"], seed=first.seed)
    assert again.digest == first.digest != plan(texts).digest
    assert rest[0].step is not None
    resumed = [each for each in again.endpoints(rest[0].step) if not each.is_name]
    assert resumed == rest
    assert not {(each.host, each.port) for each in seen} & {(each.host, each.port) for each in resumed}


def test_an_ipv6_network_is_walked() -> None:
    assert sorted(places(plan(["[2001:db8::]/127:443"]))) == ["2001:db8::1:443", "2001:db8:::443"]


def test_what_two_targets_name_is_walked_once() -> None:
    made = plan(["192.0.2.0/30:443", "192.0.2.1", "192.0.2.2:443,8443", "192.0.2.0/29:443"])
    found = places(made)
    assert len(found) == len(set(found)) == 9
    assert made.total == 9


def test_another_server_name_or_protocol_is_another_endpoint() -> None:
    made = plan(["192.0.2.1:25", "192.0.2.1:25/smtp", "tls://192.0.2.1:25/?sni=a.example"])
    assert [(each.target.protocol, each.server_name) for each in made.endpoints()] == [
        (None, None),
        ("smtp", None),
        (None, "a.example"),
    ]


def test_exclusions_hold_for_addresses_networks_names_and_ports() -> None:
    made = plan(
        ["192.0.2.0/29:443,8443", "a.example", "b.example:443,8443"],
        ["192.0.2.0/30", "192.0.2.4", "192.0.2.5:443", "192.0.2.6/31:8443", "a.example", "b.example:443"],
    )
    assert sorted(places(made)) == ["192.0.2.5:8443", "192.0.2.6:443", "192.0.2.7:443", "b.example:8443"]
    assert made.total == 4


def test_a_names_addresses_are_taken_once_and_not_where_excluded() -> None:
    made = plan(["a.example", "a.example:443", "b.example"], ["192.0.2.9"])
    first, second, other = made.endpoints()
    assert made.admit(first, "192.0.2.1")
    assert not made.admit(second, "192.0.2.1")
    assert made.admit(other, "192.0.2.1"), "another server name"
    assert not made.admit(first, "192.0.2.9")
    assert made.admit(first, "2001:db8::1")


def test_with_one_server_name_for_all_a_names_address_may_stand_among_the_networks() -> None:
    made = plan(["192.0.2.0/24", "a.example"], server_name="www.example.com")
    endpoint = list(made.endpoints())[-1]
    assert endpoint.server_name == "www.example.com"
    assert not made.admit(endpoint, "192.0.2.7")
    assert made.admit(endpoint, "198.51.100.7")


def test_a_large_network_is_not_made_before_it_is_walked() -> None:
    begun = perf_counter()
    made = plan(["10.0.0.0/8:1-65535", "10.0.0.0/8:443", "10.0.0.0/8"], ["10.0.0.0/9"])
    assert made.total == 65535 << 23
    assert next(made.endpoints()).host.startswith("10.")
    assert list(plan(["10.0.0.0/8"], ["10.0.0.0/8"]).endpoints()) == []
    again = plan(["10.0.0.0/9", "10.0.0.0/9"], ["10.0.0.0/10", "10.64.0.0/11", "10.96.0.0/12", "10.112.0.0/13",
                                                "10.120.0.0/14", "10.124.0.0/15", "10.126.0.0/16"])  # fmt: skip
    assert len(list(again.endpoints())) == again.total == 65536
    assert perf_counter() - begun < 2


def test_what_was_not_walked_to_its_end_remains() -> None:
    made = plan(["192.0.2.0/30", "a.example"])
    walk = made.endpoints()
    next(walk)
    assert [each.text for each in made.remaining()] == ["a.example", "192.0.2.0/30"]
    list(islice(walk, 4))
    assert [each.text for each in made.remaining()] == ["192.0.2.0/30"]
    assert list(walk) == []
    assert made.remaining() == []


NETWORKS = st.builds(
    lambda address, bits: str(ip_network((0xC0000200 + (address & -(1 << bits)), 32 - bits))),
    st.integers(0, 63),
    st.integers(0, 6),
)
PORTS = st.sampled_from(["", ":443", ":443,8443", ":8440-8450"])


def _walked(text: str) -> set[tuple[str, int]]:
    target = parse(text)
    assert target.network is not None
    return {
        (str(address), port) for address in target.network for span in target.probed_ports for port in span
    }


@given(
    st.lists(st.tuples(NETWORKS, PORTS), min_size=1, max_size=6),
    st.lists(st.tuples(NETWORKS, PORTS), max_size=4),
)
def test_the_plan_is_the_union_of_targets_less_the_exclusions(
    targets: list[tuple[str, str]], exclude: list[tuple[str, str]]
) -> None:
    made = plan(["".join(each) for each in targets], ["".join(each) for each in exclude])
    found = [(each.host, each.port) for each in made.endpoints()]
    wanted = set().union(*(_walked("".join(each)) for each in targets))
    for network, ports in exclude:
        wanted -= (
            _walked(network + (ports or ":1-65535"))
            if ports
            else {place for place in wanted if place[0] in {str(address) for address in ip_network(network)}}
        )
    assert len(found) == len(set(found)) == made.total
    assert set(found) == wanted
