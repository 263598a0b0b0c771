"""What a list does to what is known, without a server."""

import base64
import json
from typing import Any, cast

import msgspec

from certwatch.doors.kubernetes import Client
from certwatch.model.observation import Gone
from certwatch.plugins.testing import FakeClock, make_certificate
from collectors.kubernetes.config import KubernetesConfig
from collectors.kubernetes.reading import Reading
from collectors.kubernetes.reflector import SMALL_BYTES, Reflector
from collectors.kubernetes.resources import RESOURCES, watches


def item(version: str, data: Any) -> msgspec.Raw:
    meta = {"name": "web", "namespace": "pay", "uid": "1", "resourceVersion": version}
    return msgspec.Raw(json.dumps({"metadata": meta, "data": data}).encode())


def test_an_object_that_is_there_and_cannot_be_read_is_not_taken_for_gone() -> None:
    config = KubernetesConfig()
    secrets = next(each for each in RESOURCES if each.plural == "secrets")
    it = Reflector(cast("Client", None), secrets, None, Reading(cluster="prod", config=config), FakeClock())
    pem = base64.b64encode(make_certificate().pem).decode()
    first = it._take_page([item("1", {"site.pem": pem})], set())
    assert [each.location for each in first.changed] == ["k8s://prod/pay/secret/web?key=site.pem"]
    broken = it._take_page([item("2", "no mapping")], set())
    assert (broken.changed, broken.gone) == ((), ())
    assert [each.location for each in broken.same] == [each.location for each in first.changed]


def test_as_many_connections_as_watches() -> None:
    config = KubernetesConfig(sources=("secrets", "crds"), namespaces=("a", "b", "c"))
    assert watches(config) == 1 + 3 + 1


def test_what_would_take_too_much_memory_is_told_and_read_anew_by_each_list() -> None:
    secrets = next(each for each in RESOURCES if each.plural == "secrets")
    view = Reading(cluster="prod", config=KubernetesConfig())
    most = 3 * SMALL_BYTES
    it = Reflector(cast("Client", None), secrets, None, view, FakeClock(), max_held_bytes=most)
    it.synced = True
    names = [f"dns:h{number}.example.com" for number in range(500)]
    bundles = [make_certificate(names=names, key_number=81).pem * 2 for _ in range(3)]

    def page() -> list[msgspec.Raw]:
        return [named(f"large-{each}", "1", bundle) for each, bundle in enumerate(bundles)] + [
            named("small", "1", make_certificate().pem)
        ]

    for _ in range(3):
        seen: set[str] = set()
        batch = it._take_page(page(), seen)
        found = {each.location: len(each.chain) for each in (*batch.changed, *batch.same)}
        assert {place.rpartition("/")[2]: count for place, count in found.items()} == {
            "large-0?key=site.pem": 2,
            "large-1?key=site.pem": 2,
            "large-2?key=site.pem": 2,
            "small?key=site.pem": 1,
        }
        assert (batch.gone, it.is_whole) == ((), False)
        assert 0 < it._held_bytes <= most
    # Of what is not held nothing is said from memory.
    assert all(each.chain for each in it.observations())
    gone = it._take_events([event("DELETED", each) for each in page()])
    assert {type(each) for each in gone} == {Gone}
    assert len(gone) == 4
    assert (it._held_bytes, it.is_whole) == (0, True)


def named(name: str, version: str, data: bytes) -> msgspec.Raw:
    meta = {"name": name, "namespace": "pay", "uid": name, "resourceVersion": version}
    body = {"metadata": meta, "data": {"site.pem": base64.b64encode(data).decode()}}
    return msgspec.Raw(json.dumps(body).encode())


def event(kind: str, item: msgspec.Raw) -> bytes:
    return b'{"type":"%b","object":%b}' % (kind.encode(), bytes(item))
