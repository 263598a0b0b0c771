"""A real Postfix that offers STARTTLS on a free port, with a configuration and a queue of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.servers import accepts, free_port, program, running


@contextmanager
def postfix(*, chain_pem: bytes, key_pem: bytes, settings: str = "") -> Iterator[int]:
    """Its port on 127.0.0.1. `chain_pem`: leaf first. `settings`: further lines of main.cf.

    Postfix's processes give up root for their own users, so the folder stands where these may enter.
    """
    command = program("postfix", "postfix")
    daemons = Path(program("master", "postfix")).parent
    if os.geteuid() != 0:
        reason = "Postfix's master must be started by root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="certwatch-postfix-"))
    try:
        folder.chmod(0o755)
        config, queue, data = (folder / name for name in ("config", "queue", "data"))
        for each in (config, queue, data):
            each.mkdir(mode=0o755)
        shutil.chown(data, "postfix")
        (config / "chain.pem").write_bytes(chain_pem)
        (config / "key.pem").write_bytes(key_pem)
        (config / "key.pem").chmod(0o600)
        (config / "main.cf").write_text(
            "compatibility_level = 3.6\n"
            f"queue_directory = {queue}\ndata_directory = {data}\ndaemon_directory = {daemons}\n"
            f"command_directory = {Path(command).parent}\n"
            "myhostname = mx.example.com\nmydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n"
            f"maillog_file = {folder}/maillog\nmaillog_file_prefixes = {folder}\n"
            "alias_maps =\nsmtpd_tls_security_level = may\n"
            f"smtpd_tls_cert_file = {config}/chain.pem\nsmtpd_tls_key_file = {config}/key.pem\n{settings}\n"
        )
        (config / "master.cf").write_text(
            f"127.0.0.1:{port} inet n - n - - smtpd\n"
            + "".join(
                f"{name} unix - - n - {limit} {daemon}\n"
                for name, limit, daemon in (
                    ("anvil", 1, "anvil"),
                    ("tlsmgr", 1, "tlsmgr"),
                    ("rewrite", "-", "trivial-rewrite"),
                    ("cleanup", 0, "cleanup"),
                    ("bounce", 0, "bounce"),
                    ("defer", 0, "bounce"),
                    ("proxymap", "-", "proxymap"),
                )
            )
            + "postlog unix-dgram n - n - 1 postlogd\n"
        )
        with running([command, "-c", config, "start-fg"], ready=lambda: accepts(port), log=folder / "output"):
            try:
                yield port
            finally:
                # The master has made itself a session, out of reach of `running`; it ends its children.
                master = psutil.Process(int((queue / "pid" / "master.pid").read_text()))
                master.terminate()
                master.wait(timeout=10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
