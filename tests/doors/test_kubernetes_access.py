"""Where an API server is, and who we are to it: kubeconfigs as kubectl takes them, and what a pod has."""

import base64
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.kubernetes import Access, AccessError, contexts, from_kubeconfig, in_cluster
from certwatch.doors.kubernetes.access import current_context, kubeconfig_path
from certwatch.plugins.testing import make_ca, make_certificate

CA = make_ca("kubernetes", key_number=400)
CLIENT = make_certificate(names=["dns:me"], issuer=CA, key_number=401)
OTHER = make_certificate(names=["dns:other"], issuer=CA, key_number=402)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write(folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    path = folder / "config"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "prod",
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def access(folder: Path, **parts: Any) -> Access:
    return from_kubeconfig(write(folder, **parts), "prod")


def refused(folder: Path, **parts: Any) -> str:
    with pytest.raises(AccessError) as error:
        access(folder, **parts)
    return str(error.value).removeprefix(f"{folder / 'config'}: ")


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("of-the-pod\n")
    (tmp_path / "ca.crt").write_bytes(CA.pem)
    return tmp_path


@pytest.mark.parametrize(
    ("host", "server"), [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_a_pod_has_all_that_it_takes(pod: Path, host: str, server: str) -> None:
    found = in_cluster({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}, pod)
    assert found is not None
    assert (found.server, found.authorization) == (server, "Bearer of-the-pod")
    assert found.tls is not None
    assert found.tls.verify_mode == ssl.CERT_REQUIRED
    assert [dict(pair[0] for pair in each["subject"]) for each in found.tls.get_ca_certs()]  # type: ignore[misc]
    assert "of-the-pod" not in repr(found)


def test_what_is_no_pod_says_so() -> None:
    assert in_cluster({}) is None


def test_a_pod_without_its_token_or_ca_is_told_what_to_do(pod: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    (pod / "ca.crt").write_text("nothing")
    with pytest.raises(AccessError, match="holds no certificate in PEM"):
        in_cluster(env, pod)
    (pod / "token").unlink()
    with pytest.raises(AccessError, match="Let the pod's service account token be mounted"):
        in_cluster(env, pod)


def test_a_kubeconfig_names_server_ca_and_token(tmp_path: Path) -> None:
    cluster = {
        "certificate-authority-data": encoded(CA.pem),
        "tls-server-name": "kubernetes",
        "proxy-url": "http://proxy:3128",
    }
    found = access(tmp_path, cluster=cluster, user={"token": "t"})
    assert found.server == "https://10.0.0.1:6443"
    assert (found.authorization, found.server_name, found.proxy) == (
        "Bearer t",
        "kubernetes",
        "http://proxy:3128",
    )
    assert found.tls is not None
    assert len(found.tls.get_ca_certs()) == 1


def test_files_stand_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    (tmp_path / "token").write_text("from-file\n")
    cluster = {"certificate-authority": "ca.pem"}
    assert access(tmp_path, cluster=cluster, user={"tokenFile": "token"}).authorization == "Bearer from-file"


def test_name_and_password_are_basic_authentication(tmp_path: Path) -> None:
    said = access(tmp_path, user={"username": "me", "password": "secret"}).authorization
    assert said == f"Basic {encoded(b'me:secret')}"


def test_a_client_certificate_goes_with_its_key_or_is_refused(tmp_path: Path) -> None:
    key = encoded(CLIENT.key_pem)
    user = {"client-certificate-data": encoded(CLIENT.pem), "client-key-data": key}
    assert access(tmp_path, user=user).tls is not None
    user["client-certificate-data"] = encoded(OTHER.pem)
    assert refused(tmp_path, user=user).endswith("client certificate and key do not go together. Mend them")


def test_the_first_of_several_kubeconfigs_that_is_there_is_taken(tmp_path: Path) -> None:
    here = write(tmp_path)
    assert kubeconfig_path({"KUBECONFIG": f"{tmp_path}/none:{here}"}) == here
    assert kubeconfig_path({"KUBECONFIG": f"{tmp_path}/none"}) == tmp_path / "none"
    assert kubeconfig_path({}) == Path.home() / ".kube" / "config"
    assert (contexts(here), current_context(here)) == (("prod",), "prod")


PLUGIN = """
import json, os, sys
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
print(json.dumps({"kind": "ExecCredential", "apiVersion": asked["apiVersion"],
    "status": {"token": "-".join([sys.argv[1], os.environ["GIVEN"], asked["spec"]["cluster"]["server"][:5]])}}))
"""


def plugin(code: str, **more: Any) -> dict[str, Any]:
    words = {
        "command": sys.executable,
        "args": ["-c", code, "arg"],
        "env": [{"name": "GIVEN", "value": "env"}],
    }
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", **words, **more}}


def test_a_credential_plugin_is_run_as_kubectl_runs_it(tmp_path: Path) -> None:
    user = plugin(PLUGIN, provideClusterInfo=True)
    assert access(tmp_path, user=user).authorization == "Bearer arg-env-https"


def test_a_credential_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    status = {"clientCertificateData": CLIENT.pem.decode(), "clientKeyData": CLIENT.key_pem.decode()}
    said = json.dumps({"status": status})
    found = access(tmp_path, user=plugin(f"print({said!r})"))
    assert (found.authorization, found.tls is not None) == ("", True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('log in first\\x1b[0m')", "ended with 1: log in first.[0m"),
        ("print('hello')", "gave no ExecCredential with a status"),
        ("print('[]')", "gave no ExecCredential with a status"),
        ("print('{\"status\": 7}')", "gave no ExecCredential with a status"),
        ('print(\'{"status": {"token": 7}}\')', "gave no ExecCredential with a status"),
        ("print('[' * 100000)", "gave no ExecCredential with a status"),
    ],
)
def test_a_credential_plugin_that_fails_is_told_by_its_own_words(
    tmp_path: Path, code: str, said: str
) -> None:
    assert said in refused(tmp_path, user=plugin(code))


def test_a_credential_plugin_that_is_not_there(tmp_path: Path) -> None:
    said = refused(tmp_path, user={"exec": {"command": "no-such-plugin"}})
    assert said == 'user "u": no-such-plugin: No such file or directory. Install it, or use a token'


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"cluster": {"server": "10.0.0.1"}},
            'cluster "c": server "10.0.0.1" is no URL. Write https://HOST:PORT',
        ),
        (
            {"cluster": {"server": "https://["}},
            'cluster "c": server "https://[" is no URL. Write https://HOST:PORT',
        ),
        (
            {"cluster": {"certificate-authority-data": "!"}},
            'cluster "c": certificate-authority-data is not base64. Mend it',
        ),
        (
            {"cluster": {"certificate-authority": "/none/ca.pem"}},
            'cluster "c": /none/ca.pem: No such file or directory. Mend the path, or grant access',
        ),
        (
            {"user": {"tokenFile": "none\0"}},
            'user "u": ',
        ),
        (
            {"user": {"token": "a\r\nx-b: c"}},
            'user "u": its token has characters that no token has. Renew it',
        ),
        ({"user": {"exec": {"env": 7, "command": "x"}}}, 'user "u": '),
        ({"user": {"exec": {"env": ["x"], "args": 7, "command": "x"}}}, 'user "u": '),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    assert refused(tmp_path, **parts).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML at line"),
        ("- a", "is no kubeconfig. Name another file"),
        ("{}", 'no context "prod" (known: none)'),
        ("contexts: [{name: prod, context: {cluster: c}}]", 'names cluster "c", which is not there'),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]", ""),
        ("x: " + "[" * 20_000, "is not YAML"),
    ],
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(AccessError) as error:
        from_kubeconfig(path, "prod")
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["c", "u", "https://h"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                "server name cluster user context token tokenFile client-key-data certificate-authority-data".split()
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(cluster=VALUES, user=VALUES)
def test_whatever_stands_in_one_it_is_access_or_its_error(
    tmp_path_factory: pytest.TempPathFactory, cluster: Any, user: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-kubeconfig"
    document = {
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    try:
        assert isinstance(from_kubeconfig(path, "prod"), Access)
    except AccessError as error:
        assert str(path) in str(error)
