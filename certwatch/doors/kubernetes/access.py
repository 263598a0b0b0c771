"""Where an API server is and who we are to it: from a kubeconfig, or from what every pod has. Blocking."""

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from certwatch.doors import yaml_tree

#: What the kubelet mounts into every pod that has a service account.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: A kubeconfig of a thousand clusters has some 6 MB.
MAX_KUBECONFIG_BYTES = 16 << 20
_MAX_TOKEN_BYTES = 1 << 16
_EXEC_SECONDS = 30
_MAX_EXEC_BYTES = 1 << 20


class AccessError(Exception):
    """There is no way to the cluster as it is configured. The message says where, what, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    #: "https://10.0.0.1:6443", without a slash at its end.
    server: str
    #: With the cluster's CA, and our own certificate where we have one. None: plain HTTP.
    tls: ssl.SSLContext | None
    #: As `Authorization` header. Empty: by certificate, or not at all. Never shown.
    authorization: str = ""
    #: A proxy for this cluster. None: directly.
    proxy: str | None = None
    #: Name that TLS asks for and verifies. None: the server's own.
    server_name: str | None = None

    def __repr__(self) -> str:
        return f"Access({self.server})"


class _CredentialStatus(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""


class _Credential(msgspec.Struct):
    """client.authentication.k8s.io ExecCredential."""

    status: _CredentialStatus


_decode_credential = msgspec.json.Decoder(_Credential).decode


def in_cluster(env: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Access | None:
    """As a pod. None: this is none. Raises AccessError."""
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return None
    try:
        token = (folder / "token").read_text()[:_MAX_TOKEN_BYTES].strip()
    except OSError as error:
        raise AccessError(
            f"{folder}/token: {error.strerror}. Let the pod's service account token be mounted"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    return Access(
        server=f"https://{shown}:{port}",
        tls=_tls(f"{folder}/ca.crt", ca=_read(folder / "ca.crt", f"{folder}/ca.crt")),
        authorization=_bearer(f"{folder}/token", token),
    )


def kubeconfig_path(env: Mapping[str, str]) -> Path:
    """Of several in $KUBECONFIG the first that is there."""
    named = [Path(each) for each in env.get("KUBECONFIG", "").split(os.pathsep) if each]
    return next(
        (each for each in named if each.exists()), named[0] if named else Path.home() / ".kube" / "config"
    )


def contexts(path: Path) -> tuple[str, ...]:
    """Names of all contexts, in order. Raises AccessError."""
    return tuple(_named(_load(path), "contexts", "context"))


def current_context(path: Path) -> str:
    """Raises AccessError: it names none."""
    name = _load(path).get("current-context")
    if not isinstance(name, str) or not name:
        raise AccessError(f"{path}: has no current-context. Name one with `context`")
    return name


def from_kubeconfig(path: Path, context: str) -> Access:
    """Runs the user's credential plugin if there is one, as kubectl does. Raises AccessError."""
    config = _load(path)
    known = _named(config, "contexts", "context")
    if context not in known:
        raise AccessError(f'{path}: no context "{context}" (known: {", ".join(known) or "none"})')
    cluster_name, user_name = str(known[context].get("cluster", "")), str(known[context].get("user", ""))
    cluster = _named(config, "clusters", "cluster").get(cluster_name)
    if cluster is None:
        raise AccessError(f'{path}: context "{context}" names cluster "{cluster_name}", which is not there')
    user = _named(config, "users", "user").get(user_name, {})
    server = str(cluster.get("server", "")).rstrip("/")
    if not _is_url(server):
        raise AccessError(
            f'{path}: cluster "{cluster_name}": server "{server}" is no URL. Write https://HOST:PORT'
        )
    where = f'{path}: user "{user_name}"'
    token, certificate, key = _credentials(where, path, user, cluster)
    tls = None
    if server.startswith("https:"):
        tls = _tls(
            f'{path}: cluster "{cluster_name}"',
            ca=_data(path, cluster, "certificate-authority", f'{path}: cluster "{cluster_name}"'),
            certificate=certificate,
            key=key,
            insecure=cluster.get("insecure-skip-tls-verify") is True,
        )
    return Access(
        server=server,
        tls=tls,
        authorization=token,
        proxy=str(cluster["proxy-url"]) if cluster.get("proxy-url") else None,
        server_name=str(cluster["tls-server-name"]) if cluster.get("tls-server-name") else None,
    )


def _is_url(server: str) -> bool:
    try:
        parts = urlsplit(server)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _credentials(
    where: str, path: Path, user: Mapping[str, Any], cluster: Mapping[str, Any]
) -> tuple[str, bytes | None, bytes | None]:
    """Authorization header, client certificate and its key."""
    certificate = _data(path, user, "client-certificate", where)
    key = _data(path, user, "client-key", where)
    if user.get("tokenFile"):
        token = _read(_beside(path, str(user["tokenFile"])), where)[:_MAX_TOKEN_BYTES].decode(
            "ascii", "replace"
        )
        return _bearer(where, token), certificate, key
    if user.get("token"):
        return _bearer(where, str(user["token"])), certificate, key
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        return "Basic " + base64.b64encode(pair.encode()).decode(), certificate, key
    if isinstance(user.get("exec"), dict):
        return _exec(where, path, user["exec"], cluster)
    return "", certificate, key


def _exec(
    where: str, path: Path, plugin: Mapping[str, Any], cluster: Mapping[str, Any]
) -> tuple[str, bytes | None, bytes | None]:
    """client.authentication.k8s.io ExecCredential, of the operator's own kubeconfig."""
    command = str(plugin.get("command", ""))
    if os.sep in command:
        command = str(_beside(path, command))
    version = str(plugin.get("apiVersion", "client.authentication.k8s.io/v1"))
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {key: value for key, value in cluster.items() if isinstance(value, str | bool)}
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    env = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    words, pairs = plugin.get("args") or [], plugin.get("env") or []
    if not isinstance(words, list) or not isinstance(pairs, list):
        raise AccessError(f"{where}: exec: args and env are lists. Mend them")
    for pair in pairs:
        if not isinstance(pair, dict) or not isinstance(pair.get("name"), str):
            raise AccessError(f"{where}: exec: each of env has a name and a value. Mend it")
        env[pair["name"]] = str(pair.get("value", ""))
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own kubeconfig names it, as for kubectl
            [command, *map(str, words)],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_EXEC_SECONDS,
            check=True,
        )
        status = _decode_credential(done.stdout[:_MAX_EXEC_BYTES]).status
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
        raise AccessError(f"{where}: {command} ended with {error.returncode}: {_line(said[0])}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        why = (
            f"no answer within {_EXEC_SECONDS} s"
            if isinstance(error, subprocess.TimeoutExpired)
            else error.strerror
        )
        raise AccessError(f"{where}: {command}: {why}. Install it, or use a token") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise AccessError(f"{where}: {command} gave no ExecCredential with a status") from error
    except ValueError as error:
        # A NUL in a word, or a sign "=" in a name.
        raise AccessError(f"{where}: {command}: {error}. Mend its words or env") from error
    return (
        _bearer(where, status.token),
        status.client_certificate_data.encode() or None,
        status.client_key_data.encode() or None,
    )


def _bearer(where: str, token: str) -> str:
    token = token.strip()
    if not token.isascii() or not token.isprintable():
        raise AccessError(f"{where}: its token has characters that no token has. Renew it")
    return f"Bearer {token}" if token else ""


def _line(text: str) -> str:
    return "".join(each if each.isprintable() else "." for each in text[:200])


def _load(path: Path) -> dict[str, Any]:
    data = _read(path, str(path), MAX_KUBECONFIG_BYTES)
    try:
        config = yaml_tree.load(data)
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}" if mark is not None else ""
        raise AccessError(f"{path}: is not YAML{at}. Mend it") from error
    if not isinstance(config, dict):
        raise AccessError(f"{path}: is no kubeconfig. Name another file with `kubeconfig`")
    return config


def _named(config: Mapping[str, Any], list_key: str, item_key: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    items = config.get(list_key)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(item.get(item_key), dict):
            # The first of a name wins, as in kubectl.
            found.setdefault(str(item.get("name", "")), item[item_key])
    return found


def _beside(path: Path, name: str) -> Path:
    return path.parent / Path(name).expanduser()


def _read(path: Path, where: str, most: int = 1 << 20) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise AccessError(f"{where}: {path}: {why}. Mend the path, or grant access") from error
    if len(data) > most:
        raise AccessError(f"{where}: {path}: larger than {most} bytes. Name another file")
    return data


def _data(path: Path, node: Mapping[str, Any], key: str, where: str) -> bytes | None:
    """Inline, else from the file that is named. None: neither."""
    inline = node.get(f"{key}-data")
    if inline:
        try:
            return base64.b64decode("".join(str(inline).split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise AccessError(f"{where}: {key}-data is not base64. Mend it") from error
    return _read(_beside(path, str(node[key])), where) if node.get(key) else None


def _tls(
    where: str,
    *,
    ca: bytes | None,
    certificate: bytes | None = None,
    key: bytes | None = None,
    insecure: bool = False,
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii", "replace") if ca else None)
    except (ssl.SSLError, ValueError) as error:
        raise AccessError(f"{where}: certificate-authority holds no certificate in PEM. Mend it") from error
    if insecure:
        # The operator's word for it in the kubeconfig.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate and key:
        # The library takes files only: one that nobody else can read, for as long as it takes.
        with tempfile.NamedTemporaryFile(prefix="certwatch-") as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except (ssl.SSLError, ValueError, OSError) as error:
                raise AccessError(
                    f"{where}: client certificate and key do not go together. Mend them"
                ) from error
    return context
