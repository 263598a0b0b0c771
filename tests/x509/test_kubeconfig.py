"""kubeconfigs as kubectl writes them, and as nobody does."""

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509.containers import Container, Entry
from certwatch.x509.kubeconfig import looks_like, read
from tests.support.damage import damaged

ROOT = make_ca()
ADMIN = make_certificate(names=(), subject="admin", issuer=ROOT)
OTHER = make_certificate(key_number=7)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


CONFIG = f"""\
apiVersion: v1
kind: Config
current-context: admin@prod
clusters:
- name: prod
  cluster:
    certificate-authority-data: {b64(ROOT.pem)}
    server: https://192.0.2.1:6443
- cluster:
    certificate-authority: /etc/kubernetes/pki/ca.crt
    server: https://192.0.2.2:6443
  name: staging
- name: plain
  cluster: {{server: "http://127.0.0.1:8080", insecure-skip-tls-verify: true}}
contexts:
- context: {{cluster: prod, user: admin}}
  name: admin@prod
users:
- name: admin
  user:
    client-certificate-data: {b64(ADMIN.pem + ROOT.pem)}
    client-key-data: {b64(ADMIN.key_pem)}
- name: kubelet
  user:
    client-certificate: pki/kubelet.crt
    client-key: pki/kubelet.key
- name: token
  user: {{token: abc}}
""".encode()


def entry(found: Container, name: str) -> Entry:
    (only,) = [each for each in found.entries if each.name == name]
    return only


def test_what_each_cluster_trusts_and_each_user_presents() -> None:
    assert looks_like(CONFIG)
    found = read(CONFIG)
    assert [each.name for each in found.entries] == [
        "cluster/prod",
        "cluster/staging",
        "user/admin",
        "user/kubelet",
    ]
    assert entry(found, "cluster/prod").certificates == (ROOT.der,)
    assert entry(found, "cluster/prod").arrangement == "bundle"
    assert entry(found, "cluster/staging").path == "/etc/kubernetes/pki/ca.crt"
    admin = entry(found, "user/admin")
    assert (admin.certificates, admin.key, admin.arrangement) == ((ADMIN.der, ROOT.der), "match", "chain")
    kubelet = entry(found, "user/kubelet")
    assert (kubelet.path, kubelet.key_path) == ("pki/kubelet.crt", "pki/kubelet.key")
    assert found.problems == ()


def test_json_is_yaml_too() -> None:
    users = [{"name": "a", "user": {"client-certificate-data": b64(ADMIN.pem)}}]
    for indent in (None, 2):
        data = json.dumps({"kind": "Config", "users": users}, indent=indent).encode()
        assert looks_like(data)
        assert entry(read(data), "user/a").certificates == (ADMIN.der,)


def test_the_key_of_another_is_a_mismatch_and_an_encrypted_one_is_said_to_be() -> None:
    def config(key: bytes) -> bytes:
        user = {"client-certificate-data": b64(ADMIN.pem), "client-key-data": b64(key)}
        return json.dumps({"users": [{"name": "a", "user": user}]}).encode()

    sealed = ADMIN.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    assert entry(read(config(OTHER.key_pem)), "user/a").key == "mismatch"
    assert entry(read(config(sealed)), "user/a").key == "encrypted"
    assert entry(read(config(sealed), ["wrong", "secret"]), "user/a").key == "match"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a%%%", "is not base64"),
        (b64(b"no certificate"), "no certificate in its data"),
        (b64(ROOT.pem[:200]), "has no END line"),
    ],
)
def test_damaged_data_is_named_and_the_others_are_read(value: str, why: str) -> None:
    found = read(CONFIG.replace(b64(ROOT.pem).encode(), value.encode(), 1))
    assert [each.name for each in found.entries] == ["cluster/staging", "user/admin", "user/kubelet"]
    (problem,) = found.problems
    assert (problem.kind, why in problem.message) == ("malformed", True)
    assert 'cluster "prod"' in problem.message


@pytest.mark.parametrize(
    "tail",
    [
        b"a: &a [x]\nb: [*a, *a]\n",
        b"x: " + b"[" * 100_000,
        b"x: " + b"{a: " * 100_000,
        b"".join(b" " * depth + b"a:\n" for depth in range(2000)),
        b"x: [" + b"a," * 1_000_000 + b"]\n",
        b"\t- not: yaml",
        b"\xff\xfe\x00",
        b"!!python/object/apply:os.system [true]: x\n? [a, b]\n: c\n",
    ],
    ids=["aliases", "brackets", "braces", "indents", "endless", "tabs", "binary", "tags"],
)
def test_hostile_yaml_ends_soon(tail: bytes) -> None:
    began = time.process_time()
    found = read(CONFIG + tail)
    assert time.process_time() - began < 3
    assert len(found.problems) == 1 or len(found.entries) == 4


@given(damaged(CONFIG))
def test_any_damage_gives_a_result(data: bytes) -> None:
    looks_like(data)
    read(data)
