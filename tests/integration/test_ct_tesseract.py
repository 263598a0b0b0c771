"""A real log of static-ct-api, TesseraCT, as its operators run it: what we read of it is what it has, and proven."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.ct.evidence import PACK, entry_pack, verify_pack
from certwatch.ct.scts import SCT, strip, tbs_of
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import Issued, make_ca, make_certificate
from certwatch.x509 import der
from collectors.ct import CTCollector
from tests.collectors.ct_stage import Reading
from tests.support.ct_log import log_list
from tests.support.tesseract import Tesseract, tesseract

# Building it the first time counts.
pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(1200)]
POISON = (x509.PrecertPoison(), True)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": True}


class RealReading(Reading):
    def __init__(self, folder: Path, log: Tesseract) -> None:
        super().__init__(folder, tls_ca=str(log.tls_ca))
        self.log = log
        # It signs by the real clock.
        self.real = lambda: datetime.now(UTC)

    def write_list(self) -> str:
        path = self.folder / "log_list.json"
        path.write_bytes(log_list(tiled=[self.log.list_entry()]))
        return str(path)

    def plugin(self, **config: object) -> CTCollector:
        keys = CTCollector.Config.model_validate({**self.config, **config})
        return CTCollector("logs", keys, CollectorContext(clock=self.real, view=self.memory))

    def known(self) -> dict[str, object]:
        (uri,) = (each for each in self.memory.kept if each.startswith("ct-log://"))
        return dict(self.memory.kept[uri].facts)

    def proven(self) -> dict[str, int]:
        """Each certificate's name → its index, verified by its evidence pack alone."""
        found: dict[str, int] = {}
        for uri, each in self.found().items():
            files = entry_pack(uri, each.chain, each.facts, self.known())  # type: ignore[arg-type]
            assert verify_pack(files[PACK])
            found[der.read(each.chain[0]).names[0]] = int(uri.rpartition("/")[2])
        return found


def issued(ca: Issued, name: str, number: int, *, poisoned: bool = False) -> Issued:
    return make_certificate(
        issuer=ca, names=[f"dns:{name}"], serial_number=number, extensions=[POISON] if poisoned else []
    )


async def test_a_real_log_is_read_verified_and_proven(tmp_path: Path) -> None:
    root = make_ca("Root of the log", key_number=63)
    with tesseract(tmp_path, root) as log:
        reading = RealReading(tmp_path, log)

        def submit(names: list[str], first: int, *, poisoned: bool = False) -> None:
            made = [issued(root, name, first + index, poisoned=poisoned) for index, name in enumerate(names)]
            stamped = log.submit([(each.der, root.der) for each in made], precertificates=poisoned)
            promised.extend(zip(names, made, stamped, strict=True))
            log.wait(len(promised))

        promised: list[tuple[str, Issued, SCT]] = []
        submit([f"host{each}.unrelated.net" for each in range(280)], 1)
        submit(["early.example.com"], 500)
        await reading.once()
        assert reading.failed == ""
        assert (reading.known()["ct_size"], "ct_faults" in reading.known()) == (281, False)
        assert set(reading.proven()) == {"dns:early.example.com"}
        # It grows past a tile, and forgets partial ones; a precertificate is among what comes.
        submit([f"other{each}.unrelated.net" for each in range(300)], 1000)
        submit(["pre.example.com"], 2000, poisoned=True)
        submit([f"last{each}.unrelated.net" for each in range(10)], 3000)
        await reading.once()
        assert (reading.known()["ct_size"], "ct_faults" in reading.known()) == (592, False)
        assert set(reading.proven()) == {"dns:early.example.com", "dns:pre.example.com"}
        (pre,) = (each for each in reading.found().values() if each.facts["ct_entry"] == "precertificate")
        assert pre.chain[0] == promised[581][1].der
        assert [der.read(each).subject for each in pre.chain[1:]] == ["CN=Root of the log"]
        # Each timestamp is signed, and names the index at which we have found the entry.
        by_name = {f"dns:{name}": (made, sct) for name, made, sct in promised}
        assert {name: by_name[name][1].leaf_index for name in reading.proven()} == reading.proven()
        made, sct = by_name["dns:pre.example.com"]
        issuer_key = der.read(root.der).spki_sha256
        assert issuer_key is not None
        sct.verify(log.key, strip(tbs_of(made.der))[0], issuer_key)

        # Begun at the end, and at a date: the tree before is verified by hash tiles.
        for start in ("end", (datetime.now(UTC) + timedelta(hours=1)).isoformat()):
            late = RealReading(tmp_path, log)
            await late.once(start=start)
            assert late.failed == ""
            assert late.known()["ct_size"] == 592
            assert "ct_faults" not in late.known()
            before = json.loads(str(late.known()["ct_mark"]))
            now = json.loads(str(reading.known()["ct_mark"]))
            assert before["peaks"] == now["peaks"]
