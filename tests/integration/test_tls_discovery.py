"""Discovery by the daemon: a host that has vanished is retired; a pass that was killed goes on, and retires nothing wrongly."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from certwatch.model.location import LocationURI
from certwatch.model.sighting import Served
from certwatch.plugins.testing import Issued, make_certificate
from tests.support.daemon import Certwatch, certwatch, reading
from tests.support.nginx import Nginx, NginxServer, nginx

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@contextmanager
def host(folder: Path, shown: Issued, address: str = "127.0.0.1") -> Iterator[Nginx]:
    folder.mkdir()
    with nginx(
        folder, [NginxServer(chain_pem=shown.chain_pem, key_pem=shown.key_pem, host=address)]
    ) as running:
        yield running


def up(daemon: Certwatch) -> set[str]:
    return {labels["location"] for labels, value in daemon.series("certwatch_location_up") if value == 1}


def test_a_host_that_has_vanished_is_retired_and_its_neighbour_is_not(tmp_path: Path) -> None:
    with ExitStack() as vanishes, host(tmp_path / "stays", make_certificate(serial_number=1)) as one:
        other = vanishes.enter_context(host(tmp_path / "leaves", make_certificate(serial_number=2)))
        here, gone = (f"tls://127.0.0.1:{each.port}/" for each in (one, other))
        network = f"127.0.0.0/30:{one.port},{other.port}"
        with certwatch(
            tmp_path, f"\n  - {{name: wide, kind: tls, every: 2s, targets: ['{network}']}}\n"
        ) as daemon:
            daemon.wait(lambda: up(daemon) == {here, gone}, "both hosts")
            vanishes.close()

            def places() -> set[str]:
                return {labels["location"] for labels, _ in daemon.series("certwatch_location_up")}

            daemon.wait(lambda: places() == {here}, "the end of the one that has vanished")
            with reading(daemon.inventory) as reader:
                left, lost = (reader.served(LocationURI(each)) for each in (here, gone))
            assert left is not None and left.retired_at is None
            assert lost is not None and lost.retired_at is not None


def test_a_killed_pass_goes_on_and_retires_only_what_none_of_its_parts_saw(tmp_path: Path) -> None:
    note = tmp_path / "collectors" / "wide" / "pass.json"

    def collectors(network: str, more: str = "") -> str:
        return f"\n  - {{name: wide, kind: tls, every: 30d, sweep: true, targets: ['{network}']{more}}}\n"

    def places() -> dict[str, Served]:
        with reading(tmp_path / "inventory.db") as reader:
            return {each.location.uri: each for each in reader.live()}

    with host(tmp_path / "everywhere", make_certificate(), "0.0.0.0") as server:  # noqa: S104
        network = f"127.0.0.0/23:{server.port}"
        with certwatch(tmp_path, collectors(network)) as daemon:
            daemon.wait(lambda: len(up(daemon)) == 512, "the first pass")
            daemon.wait_for_log("scan_finished")
        known = places()
        assert len(known) == 512
        with certwatch(tmp_path, collectors(network, ", rate: 20")) as daemon:
            daemon.wait(
                lambda: note.exists() and json.loads(note.read_text())["step"] > 0, "a note of the pass"
            )
            daemon.signal(signal.SIGKILL)
            daemon.process.wait(timeout=15)
    seen = {uri for uri, each in places().items() if each.last_seen > known[uri].last_seen}
    assert 0 < len(seen) < 512
    # Now nothing is there any more. What the killed part saw was there in this pass.
    with certwatch(tmp_path, collectors(network)) as daemon:
        daemon.wait_for_log("scan_finished")
        assert "tls_pass_resumed" in daemon.log
    assert set(places()) == seen
    assert not note.exists()
