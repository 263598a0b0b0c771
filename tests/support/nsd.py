"""A real NSD, authoritative for a zone, on a free port of loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import accepts, free_port, program, running


@contextmanager
def nsd(folder: Path, zones: dict[str, str], *, transfer: bool = True) -> Iterator[str]:
    """Its address ("127.0.0.1:PORT"). `zones`: records of each, as a zone file has them; SOA and NS are added."""
    port = free_port()
    command = program("nsd", "nsd")
    text = (
        f'server:\n ip-address: 127.0.0.1@{port}\n username: ""\n zonesdir: "{folder}"\n database: ""\n'
        f' pidfile: "{folder}/nsd.pid"\n xfrdfile: "{folder}/xfrd.state"\n zonelistfile: "{folder}/zones.list"\n'
        f' xfrdir: "{folder}"\n server-count: 1\n'
        "remote-control:\n control-enable: no\n"
    )
    for zone, records in zones.items():
        soa = f"@ 300 IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 300\n@ 300 IN NS ns.{zone}.\nns 300 IN A 127.0.0.1\n"
        (folder / f"{zone}.zone").write_text(f"$ORIGIN {zone}.\n{soa}{records}\n")
        text += f"zone:\n name: {zone}\n zonefile: {zone}.zone\n"
        if transfer:
            text += " provide-xfr: 127.0.0.1 NOKEY\n"
    config = folder / "nsd.conf"
    config.write_text(text)
    log = folder / "nsd.log"
    with running([command, "-d", "-c", config], ready=lambda: accepts(port), log=log):
        yield f"127.0.0.1:{port}"
