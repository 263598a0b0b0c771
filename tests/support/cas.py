"""Small CAs in folders of a test, with keys in files or in a real SoftHSM token."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certwatch.ca.acts import perform
from certwatch.ca.authority import Authority
from certwatch.ca.certificate import Addresses
from certwatch.ca.found import found_intermediate, found_root
from certwatch.ca.http.site import CASite
from certwatch.ca.issue import Certified, issue
from certwatch.ca.key_file import generate
from certwatch.ca.keys import Secrets
from certwatch.ca.new_request import make_csr
from certwatch.ca.profiles import profiles_of
from certwatch.ca.published import Published
from certwatch.ca.request import Order, load_csr, order_of
from certwatch.ca.responder import Responder
from certwatch.ca.service import Service
from certwatch.ca.settings import CASettings
from certwatch.config.ca import ProfileKeys
from certwatch.model.clock import Clock
from certwatch.plugins.testing import FakeClock
from tests.support.servers import program

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
SECRETS = Secrets(passphrase=lambda: b"in a test", pin=lambda: "1234")
URL = "http://pki.example.com"


def settings(
    folder: Path,
    *,
    profiles: Mapping[str, dict[str, Any]] | None = None,
    url: str = "",
    partitions: int = 1,
    has_responder: bool = False,
    most_in_partition: int = 100_000,
    **more: Any,
) -> CASettings:
    more.setdefault("lint", False)
    more.setdefault("key_place", f"file:{folder}/ca.key")
    return CASettings(
        directory=folder / "ca",
        addresses=Addresses(
            url=url,
            partitions=partitions,
            most_in_partition=most_in_partition,
            has_responder=has_responder,
        ),
        profiles=profiles_of({name: ProfileKeys(**keys) for name, keys in (profiles or {}).items()}),
        **more,
    )


def site_of(ca: Authority) -> CASite:
    """What its routes are made of. Close its service."""
    return CASite(service=Service(ca), published=Published(ca), responder=Responder(ca), clock=ca.clock)


@contextmanager
def authority(
    folder: Path,
    clock: Clock | None = None,
    *,
    empty: bool = False,
    intermediate: bool = False,
    step: Any = None,
    key_type: Any = "ec-p256",
    **more: Any,
) -> Iterator[Authority]:
    """A root, and an intermediate if wished. A folder that has a CA already is opened."""
    present = (folder / "ca" / "ca.db").exists()
    extra = {"step": step} if step is not None else {}
    with Authority(
        settings(folder, **more), SECRETS, clock or FakeClock(), create=not present, **extra
    ) as opened:
        if not present and not empty:
            found_root(opened, "Test Root", key_type=key_type)
            if intermediate:
                found_intermediate(opened, "Test Issuing", by="operator")
        yield opened


def order(
    ca: Authority,
    *names: str,
    profile: str = "server",
    subject: str | None = None,
    key: Any = None,
    requester: str = "alice",
    submitter: str = "alice",
    **more: Any,
) -> Order:
    csr = make_csr(key or generate("ec-p256"), names, subject)
    return order_of(
        load_csr(csr.encode()),
        ca.settings.profiles[profile],
        requester=requester,
        submitter=submitter,
        **more,
    )


def issued(ca: Authority, *names: str, **more: Any) -> Certified:
    """Raises what it is refused with."""
    answer = issue(ca, [(order(ca, *(names or ("dns:www.example.com",)), **more), None)])[0]
    if not isinstance(answer, Certified):
        raise answer
    return answer


def asked(ca: Authority, act: str, **values: Any) -> dict[str, Any]:
    return perform(ca, act, values)


def softhsm(folder: Path, label: str = "certwatch") -> str:
    """A fresh token; the URI of it. Sets SOFTHSM2_CONF, which the library reads when it is initialised: one folder a
    process, so tokens of all tests stand in one."""
    program("softhsm2-util", "softhsm2")
    configured = os.environ.get("SOFTHSM2_CONF")
    if configured is None or not Path(configured).exists():
        (folder / "tokens").mkdir()
        conf = folder / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", "1234", "--so-pin", "5678"],
        check=True,
        capture_output=True,
        timeout=15,
    )
    pin = folder / "pin"
    pin.write_text("1234\n")
    return f"pkcs11:token={label}?module-path={SOFTHSM}&pin-source=file:{pin}"
