"""Lists of hosts that are expected."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock
from collectors.hosts import HostsCollector, HostsConfig
from collectors.hosts.lists import Host, ListError, parse_file_sd, parse_host, parse_list

pytestmark = pytest.mark.anyio


async def told(**config: Any) -> list[Observation | Incomplete]:
    collector = HostsCollector("hosts", HostsConfig(**config), CollectorContext(clock=FakeClock()))
    stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
    async with aclosing(stream):
        return [each async for each in stream]


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("www.example.com", "www.example.com", 443),
        ("WWW.Example.com.:8443", "www.example.com", 8443),
        ("192.0.2.1:443", "192.0.2.1", 443),
        ("[2001:DB8::1]:8443", "2001:db8::1", 8443),
        ("2001:db8::1", "2001:db8::1", 443),
        ("https://www.example.com/x", "www.example.com", 443),
        ("https://www.example.com:444", "www.example.com", 444),
        ("bücher.example", "xn--bcher-kva.example", 443),
    ],
)
def test_a_host_is_written_in_many_ways(text: str, name: str, port: int) -> None:
    assert parse_host(text) == Host(name=name, port=port)


@pytest.mark.parametrize(
    "text", ["", "a b", "www.example.com:0", "www.example.com:https", "-x.example.com", "a" * 300]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_host(text)


async def test_every_list_names_its_hosts_with_their_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# ours\nwww.example.com  # the shop\n\n192.0.2.1:8443\n")
    (tmp_path / "a.json").write_text(
        '[{"targets": ["one.example.com:443"], "labels": {"team": "web", "__x": "y"}}]'
    )
    (tmp_path / "b.yml").write_text("- targets: ['[2001:db8::1]:443']\n")
    looks = await told(
        hosts=("inline.example.com",),
        lists=(f"{tmp_path}/*.txt",),
        file_sd=(f"{tmp_path}/*.json", f"{tmp_path}/*.yml"),
    )
    assert {each.location: dict(each.labels) for each in looks if isinstance(each, Observation)} == {
        "host://inline.example.com:443": {},
        "host://www.example.com:443": {},
        "host://192.0.2.1:8443": {},
        "host://one.example.com:443": {"team": "web"},
        "host://[2001:db8::1]:443": {},
    }


async def test_a_list_that_cannot_be_read_is_incomplete_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('[{"targets": ["www.example.com"]}]')
    (tmp_path / "bad.json").write_text('[{"targets": "www.example.com"}]')
    looks = await told(file_sd=(f"{tmp_path}/*.json",), lists=(f"{tmp_path}/absent", f"{tmp_path}/*.absent"))
    assert [each.location for each in looks if isinstance(each, Observation)] == [
        "host://www.example.com:443"
    ]
    messages = [each.error.message for each in looks if isinstance(each, Incomplete)]
    assert len(messages) == 3
    assert any("bad.json: group 1 has no list of targets" in each for each in messages)


def test_where_in_a_list_something_is_wrong_is_said() -> None:
    with pytest.raises(ListError, match=r"hosts\.txt:2: 'a b' is no host"):
        list(parse_list("hosts.txt", b"www.example.com\na b\n"))


@given(st.binary(max_size=300))
def test_nonsense_is_refused_and_breaks_nothing(data: bytes) -> None:
    for parse, where in ((parse_list, "x"), (parse_file_sd, "x.json"), (parse_file_sd, "x.yml")):
        try:
            list(parse(where, data))
        except ListError as error:
            assert str(error).startswith("x")


def test_a_collector_that_expects_nothing_and_a_server_that_is_none_are_mistakes() -> None:
    with pytest.raises(ValidationError, match="nothing is expected"):
        HostsConfig()
    with pytest.raises(ValidationError):
        HostsConfig.model_validate({"zones": [{"name": "example.com", "server": "ns.example.com"}]})
