"""What holds where the config says nothing: this host is watched."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certwatch.config.mistakes import ConfigError

TRUST: Mapping[str, tuple[str, ...]] = {"public": ("system",)}

#: Where servers of this host usually have their certificates. A folder that does not exist costs nothing.
CERTIFICATE_PATHS = (
    "/etc/ssl/**",
    "/etc/pki/tls/**",
    "/etc/letsencrypt/live/*/*.pem",
    "/etc/nginx/**",
    "/etc/apache2/**",
    "/etc/httpd/**",
    "/etc/haproxy/**",
    "/etc/postfix/**",
    "/etc/dovecot/**",
    "/etc/openvpn/**",
    "/etc/kubernetes/pki/**",
    "/var/lib/kubelet/pki/*.pem",
    "/var/lib/caddy/**/certificates/**",
    "/var/lib/acme/**",
)

#: The system's trust store is what others are judged by, not something that this host serves.
EXCLUDED_PATHS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/*.[0-9]",
    "/etc/pki/tls/certs/ca-bundle*",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/java/**",
)


def data_folder(env: Mapping[str, str], *, uid: int) -> Path:
    """$XDG_DATA_HOME/certwatch; without it /var/lib/certwatch for root, ~/.local/share/certwatch for others."""
    data_home = env.get("XDG_DATA_HOME", "")
    if data_home.startswith("/"):
        return Path(data_home, "certwatch")
    if uid == 0:
        return Path("/var/lib/certwatch")
    home = env.get("HOME", "")
    if not home.startswith("/"):
        raise ConfigError(
            ["inventory: neither HOME nor XDG_DATA_HOME says where to keep it. Set inventory: in a config"]
        )
    return Path(home, ".local/share/certwatch")


def inventory(env: Mapping[str, str]) -> str:
    return f"sqlite://{data_folder(env, uid=os.getuid())}/inventory.db"


def remediation_folder(env: Mapping[str, str], *, uid: int) -> Path:
    return data_folder(env, uid=uid) / "remediation"


def ca_folder(env: Mapping[str, str], *, uid: int) -> Path:
    """Of the embedded CA."""
    return data_folder(env, uid=uid) / "ca"


def state_folder(inventory: str, env: Mapping[str, str], *, uid: int) -> Path:
    """Where plug-ins keep what must outlive the process, each in a folder of its own below it: that of the inventory if
    it is a file, else the data folder. Raises ConfigError."""
    if inventory.startswith("sqlite://"):
        return Path(inventory.removeprefix("sqlite://")).parent
    return data_folder(env, uid=uid)


def collectors() -> list[dict[str, Any]]:
    """This host's certificate files and its listening TLS ports."""
    return [
        {
            "name": "files",
            "kind": "file",
            "every": "1h",
            "paths": [each for each in CERTIFICATE_PATHS if _may_be_read(each)],
            "exclude": [*EXCLUDED_PATHS, *_closed_folders()],
        },
        {"name": "listening", "kind": "tls", "every": "15m", "targets": ["listening"], "timeout": 5},
    ]


def exporters() -> list[dict[str, Any]]:
    return [{"kind": "prometheus"}]


def _may_be_read(pattern: str) -> bool:
    """False: its folder exists and is closed to us. To look there would make every scan a partial one."""
    folder = pattern.partition("*")[0].rpartition("/")[0]
    return not os.path.lexists(folder) or os.access(folder, os.R_OK | os.X_OK)


def _closed_folders() -> list[str]:
    return [
        folder
        for folder in ("/etc/ssl/private", "/etc/pki/tls/private")
        if os.path.lexists(folder) and not os.access(folder, os.R_OK | os.X_OK)
    ]
