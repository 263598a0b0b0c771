"""Nobody's keystores keep the cluster's certificates waiting."""

import base64
import json
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from certwatch.doors.kubernetes import Client
from certwatch.plugins.testing import FakeClock, make_certificate
from certwatch.x509 import keystores
from collectors.kubernetes import stored
from collectors.kubernetes.config import KubernetesConfig, Passphrase
from collectors.kubernetes.purse import Purse, Purses
from collectors.kubernetes.reading import MAX_FAILED, Read, Reading
from collectors.kubernetes.reflector import Reflector
from collectors.kubernetes.resources import RESOURCES

SITE = make_certificate(key_number=71)
ROUNDS = 1000


@cache
def store() -> bytes:
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(b"changeit")
    )
    return pkcs12.serialize_key_and_certificates(
        b"site", cast("Any", SITE.key), SITE.certificate, None, encryption
    )


def cost() -> int:
    purse = Purse()
    before = purse.iterations
    assert keystores.read(store(), ["changeit"], purse) is not None
    return before - purse.iterations


@dataclass
class Now:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def reading(purses: Purses) -> Reading:
    passphrase = Passphrase.model_validate({"passphrase": "changeit"})
    return Reading(cluster="prod", config=KubernetesConfig(passphrases=(passphrase,)), purses=purses)


def secret(data: dict[str, bytes], name: str = "web", namespace: str = "pay", version: str = "1") -> bytes:
    meta = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": version}
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return json.dumps({"metadata": meta, "data": encoded}).encode()


def is_open(read: Read) -> bool:
    return any(each.chain for each in read.places)


def test_all_keystores_of_one_object_share_one_purse() -> None:
    purse = Purse(iterations=3 * cost())
    opened = [keystores.read(store(), ["changeit"], purse) for _ in range(10)]
    assert [bool(each and each.entries) for each in opened] == [True] * 3 + [False] * 7
    assert "no more than" in str(opened[-1] and opened[-1].problems)


def test_a_namespace_that_asks_for_too_much_waits_and_the_others_do_not() -> None:
    now = Now()
    view = reading(Purses(most=2 * cost(), clock=now))
    reads = [stored.secret(secret({"a.p12": store()}, f"s{number}"), view) for number in range(4)]
    assert [is_open(each) for each in reads] == [True, True, False, False]
    assert [each.is_postponed for each in reads] == [False, False, True, True]
    (place, *_) = reads[-1].places
    assert place.error is not None
    assert "left for later" in place.error.message
    assert is_open(stored.secret(secret({"a.p12": store()}, namespace="other"), view))
    now.seconds += 1801
    assert is_open(stored.secret(secret({"a.p12": store()}, "s3"), view)), "half an hour is half of it"
    assert not is_open(stored.secret(secret({"a.p12": store()}, "s4"), view))


def test_what_was_postponed_is_read_by_the_next_list_though_it_has_not_changed() -> None:
    now = Now()
    secrets = next(each for each in RESOURCES if each.plural == "secrets")
    view = reading(Purses(most=cost(), clock=now))
    it = Reflector(cast("Client", None), secrets, None, view, FakeClock())
    it.synced = True
    page = [msgspec.Raw(secret({"a.p12": store()}, name)) for name in ("a", "b")]
    it._take_page(page, set())
    assert not it.is_whole
    now.seconds += 3600
    batch = it._take_page(page, set())
    assert [each.location for each in batch.changed if each.chain] == [
        "k8s://prod/pay/secret/b?key=a.p12#site"
    ]
    assert it.is_whole


def test_an_object_of_ten_thousand_keys_is_as_many_places_as_can_be_looked_at() -> None:
    view = reading(Purses())
    garbage = {f"k{number:05}.crt": b"a" for number in range(10_000)}
    read = stored.secret(secret(garbage | {"a.crt": SITE.pem}), view)
    assert is_open(read)
    assert len(read.places) == MAX_FAILED + 2
    last = read.places[-1]
    assert last.location == "k8s://prod/pay/secret/web"
    assert last.error is not None
    assert "from k00100.crt on are left out" in last.error.message
