"""What a list does to what is known, without a server."""

import json
from typing import Any, cast

import msgspec

from certwatch.doors.kubernetes import Client
from certwatch.plugins.testing import FakeClock, make_certificate
from collectors.kubernetes.config import KubernetesConfig
from collectors.kubernetes.reading import Reading
from collectors.kubernetes.reflector import Reflector
from collectors.kubernetes.resources import RESOURCES, watches


def item(version: str, data: Any) -> msgspec.Raw:
    meta = {"name": "web", "namespace": "pay", "uid": "1", "resourceVersion": version}
    return msgspec.Raw(json.dumps({"metadata": meta, "data": data}).encode())


def test_an_object_that_is_there_and_cannot_be_read_is_not_taken_for_gone() -> None:
    import base64

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
