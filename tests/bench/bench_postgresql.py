"""The inventory in PostgreSQL beside the one in SQLite, in the same minute: recording."""

from datetime import timedelta

from certwatch.inventory import open_inventory
from certwatch.plugins.testing import EPOCH
from tests.bench.bench_inventory import loaded, opened, scan
from tests.bench.result import Result
from tests.support import postgresql_inventories
from tests.support.numbered import NumberedCertificates

RECORDED = 20_000


def run() -> list[Result]:
    certificates = NumberedCertificates()
    try:
        with postgresql_inventories.empty() as url, opened() as (sqlite, _):
            writers = (open_inventory(url).writer(), sqlite.writer())
            new = [RECORDED / scan(each, certificates, RECORDED, EPOCH) for each in writers]
            # As autovacuum does within a minute.
            postgresql_inventories.server().run("ANALYZE", database=url.rpartition("/")[2])
            same = [0.0, 0.0]
            for hours in (1, 2, 3):
                for which, writer in enumerate(writers):
                    seconds = scan(writer, certificates, RECORDED, EPOCH + timedelta(hours=hours))
                    same[which] = max(same[which], RECORDED / seconds)
            for writer in writers:
                writer.close()
    finally:
        postgresql_inventories.stop()
    how = f"{RECORDED:,} on the same machine as the server; SQLite beside it: {{:,.0f}}/s" + loaded()
    return [
        Result(
            what="postgresql: record, nothing changed",
            measured=same[0],
            unit="/s",
            target=30_000,
            at_least=True,
            how=how.format(same[1]) + "; best of 3",
        ),
        Result(
            what="postgresql: record, new certificates at new locations",
            measured=new[0],
            unit="/s",
            how=how.format(new[1]),
        ),
    ]
