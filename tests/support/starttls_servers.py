"""Real servers that begin in the clear: Dovecot, vsftpd, slapd, Prosody, xrdp. Each in a folder of its own, on free ports."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from certwatch.plugins.testing import Issued
from tests.support.servers import accepts, free_port, program, running


def _need_root(server: str) -> None:
    if os.geteuid() != 0:
        reason = f"{server} must be started by root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def folder_of(server: str, issued: Issued, owner: str | None = None) -> Iterator[Path]:
    """With chain.pem and key.pem, where the server's own user may enter; without traces after."""
    folder = Path(tempfile.mkdtemp(prefix=f"certwatch-{server}-"))
    try:
        folder.chmod(0o755)
        (folder / "chain.pem").write_bytes(issued.chain_pem)
        (folder / "key.pem").write_bytes(issued.key_pem)
        (folder / "key.pem").chmod(0o600)
        if owner is not None and os.geteuid() == 0:
            for each in (folder, folder / "key.pem"):
                shutil.chown(each, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def dovecot(issued: Issued, *, settings: str = "ssl = yes") -> Iterator[Mapping[str, int]]:
    """Ports by protocol: imap, pop3, lmtp, sieve."""
    binary = program("dovecot", "dovecot-imapd")
    _need_root("Dovecot")
    ports = {protocol: free_port() for protocol in ("imap", "pop3", "lmtp", "sieve")}
    with folder_of("dovecot", issued) as folder:
        (folder / "log").touch()

        def listener(service: str, name: str, port: int) -> str:
            return f"service {service} {{\n inet_listener {name} {{\n address = 127.0.0.1\n port = {port}\n }}\n}}\n"

        def off(service: str, name: str) -> str:
            return f"service {service} {{\n inet_listener {name} {{\n port = 0\n }}\n}}\n"

        (folder / "dovecot.conf").write_text(
            "protocols = imap pop3 lmtp sieve\n"
            f"base_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = {folder}/log\n"
            f"ssl_cert = <{folder}/chain.pem\nssl_key = <{folder}/key.pem\n{settings}\n"
            "passdb {\n driver = static\n args = nopassword=y\n}\nuserdb {\n driver = static\n"
            " args = uid=dovecot gid=dovecot home=/nonexistent\n}\n"
            + listener("imap-login", "imap", ports["imap"]) + off("imap-login", "imaps")
            + listener("pop3-login", "pop3", ports["pop3"]) + off("pop3-login", "pop3s")
            + listener("lmtp", "lmtp", ports["lmtp"])
            + listener("managesieve-login", "sieve", ports["sieve"])
        )  # fmt: skip
        with running(
            [binary, "-F", "-c", folder / "dovecot.conf"],
            ready=lambda: all(accepts(port) for port in ports.values()),
            log=folder / "output",
        ):
            yield ports


@contextmanager
def vsftpd(issued: Issued, *, settings: str = "ssl_enable=YES") -> Iterator[int]:
    binary = program("vsftpd", "vsftpd")
    _need_root("vsftpd")
    port = free_port()
    with folder_of("vsftpd", issued) as folder:
        (folder / "empty").mkdir()
        # No spaces around "=": it takes them for a part of the value.
        (folder / "vsftpd.conf").write_text(
            f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nlocal_enable=YES\n"
            f"secure_chroot_dir={folder}/empty\nrsa_cert_file={folder}/chain.pem\n"
            f"rsa_private_key_file={folder}/key.pem\nseccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\n{settings}\n"
        )
        with running([binary, folder / "vsftpd.conf"], ready=lambda: accepts(port), log=folder / "output"):
            yield port


@contextmanager
def slapd(issued: Issued, root: Issued, *, tls: bool = True) -> Iterator[int]:
    binary = program("slapd", "slapd")
    port = free_port()
    with folder_of("slapd", issued) as folder:
        leaf, _, rest = issued.chain_pem.partition(b"-----END CERTIFICATE-----\n")
        (folder / "leaf.pem").write_bytes(leaf + b"-----END CERTIFICATE-----\n")
        (folder / "ca.pem").write_bytes(rest + root.pem)
        (folder / "slapd.conf").write_text(
            "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_ldif\n"
            f"pidfile {folder}/pid\nargsfile {folder}/args\n"
            + (
                f"TLSCACertificateFile {folder}/ca.pem\nTLSCertificateFile {folder}/leaf.pem\n"
                f"TLSCertificateKeyFile {folder}/key.pem\n"
                if tls
                else ""
            )
            + f'database ldif\nsuffix "dc=example"\ndirectory {folder}\n'
        )
        with running(
            [binary, "-d", "0", "-f", folder / "slapd.conf", "-h", f"ldap://127.0.0.1:{port}/"],
            ready=lambda: accepts(port),
            log=folder / "output",
        ):
            yield port


@contextmanager
def prosody(issued: Issued, domain: str) -> Iterator[Mapping[str, int]]:
    """Ports by protocol: xmpp-client, xmpp-server."""
    binary = program("prosody", "prosody")
    ports = {protocol: free_port() for protocol in ("xmpp-client", "xmpp-server")}
    with folder_of("prosody", issued, owner="prosody") as folder:
        (folder / "prosody.cfg.lua").write_text(
            f'daemonize = false; pidfile = "{folder}/pid"; data_path = "{folder}"; certificates = "{folder}"\n'
            'interfaces = { "127.0.0.1" }; log = { info = "*console" }\n'
            f"c2s_ports = {{ {ports['xmpp-client']} }}; s2s_ports = {{ {ports['xmpp-server']} }}\n"
            'modules_enabled = { "tls", "saslauth", "s2s" }\n'
            f'ssl = {{ certificate = "{folder}/chain.pem"; key = "{folder}/key.pem" }}\n'
            f'VirtualHost "{domain}"\n'
        )
        as_prosody = [program("runuser", "util-linux"), "-u", "prosody", "--"] if os.geteuid() == 0 else []
        with running(
            [*as_prosody, binary, "--config", folder / "prosody.cfg.lua", "-F"],
            ready=lambda: all(accepts(port) for port in ports.values()),
            log=Path(f"{folder}.log"),
        ):
            yield ports
        Path(f"{folder}.log").unlink(missing_ok=True)


@contextmanager
def xrdp(issued: Issued, *, security_layer: str = "tls") -> Iterator[int]:
    binary = program("xrdp", "xrdp")
    _need_root("xrdp")
    port = free_port()
    with folder_of("xrdp", issued) as folder:
        subprocess.run(
            [program("xrdp-keygen", "xrdp"), "xrdp", folder / "rsakeys.ini"], check=True, timeout=20
        )
        (folder / "xrdp.ini").write_text(
            f"[Globals]\nini_version=1\nfork=true\nport=tcp://127.0.0.1:{port}\nsecurity_layer={security_layer}\n"
            f"crypt_level=high\ncertificate={folder}/chain.pem\nkey_file={folder}/key.pem\n"
            "ssl_protocols=TLSv1.2, TLSv1.3\nmax_bpp=16\n"
            f"[Logging]\nLogFile={folder}/log\nLogLevel=INFO\nEnableSyslog=false\n[Channels]\n"
            "[Xorg]\nname=Xorg\nlib=libxup.so\nusername=ask\npassword=ask\n"
        )
        # Its log is read by its own user after it has been opened by root.
        with running(
            [binary, "--nodaemon", "--config", folder / "xrdp.ini"],
            ready=lambda: accepts(port),
            log=folder / "output",
        ):
            yield port
