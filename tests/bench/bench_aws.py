"""The aws collector against moto: certificates in ACM of 20 account-regions, looked at twice by `certwatch collect`.

CERTWATCH_BENCH_ACM=10000 for as many as the target says: some minutes, nearly all of it moto's. The default is a twentieth of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from tests.bench.result import Result
from tests.support.aws import AWS, OWN, imported, moto, regions, role

CERTIFICATES = int(os.environ.get("CERTWATCH_BENCH_ACM", "500"))
ACCOUNTS = (OWN, "222222222222", "333333333333", "444444444444")
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2")
#: Certificates that are replaced before the second look.
CHANGED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    #: From the beginning of the scan to its end, in the inventory.
    seconds: float
    #: The process' largest size, MiB.
    peak: float
    looks: int
    calls: Counter[str]


def _certificate(number: int, issuer: Issued) -> Issued:
    return make_certificate(
        names=(f"dns:host-{number:05}.example.com",),
        issuer=issuer,
        key_number=21,
        not_after=EPOCH.replace(year=EPOCH.year + 1),
    )


def _fill(aws: AWS) -> None:
    issuer = make_ca("Bench CA", key_number=101)

    def of_one(index: int) -> None:
        account, region = ACCOUNTS[index % 4], REGIONS[index // 4]
        client = aws.client("acm", region, account)
        for number in range(index, CERTIFICATES, 20):
            imported(client, _certificate(number, issuer), {"owner": f"team-{number % 30}"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(of_one, range(20)))


def _change(aws: AWS) -> None:
    client, issuer = aws.client("acm", REGIONS[0]), make_ca("Bench CA", key_number=101)
    listed = client.list_certificates(Includes={"keyTypes": ["EC_prime256v1"]}, MaxItems=CHANGED)
    for number, each in enumerate(listed["CertificateSummaryList"]):
        imported(client, _certificate(CERTIFICATES + number, issuer), arn=each["CertificateArn"])


def _config(aws: AWS, folder: Path, looked_at: str) -> Path:
    path = folder / "certwatch.yaml"
    path.write_text(
        f"inventory: sqlite:///{folder}/inventory.db\n"
        "collectors:\n"
        f"  - {{name: cloud, kind: aws, endpoint_url: '{aws.url}', rate: 10000, services: [acm], {looked_at}}}\n"
        "exporters: []\n"
    )
    return path


def _collect(aws: AWS, config: Path) -> Run:
    aws.calls()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "certwatch", "-c", str(config), "collect", "--json"], stdout=out
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said: dict[str, Any] = json.load(out)
    (scan,) = said["scans"]
    assert scan["status"] == "complete", scan
    begun, ended = (datetime.fromisoformat(scan[each]) for each in ("started_at", "finished_at"))
    return Run(
        seconds=(ended - begun).total_seconds(),
        peak=usage.ru_maxrss / 1024,
        looks=scan["observations"],
        calls=aws.counted(),
    )


def run() -> list[Result]:
    with tempfile.TemporaryDirectory() as name, moto(Path(name)) as aws:
        aws.reset()
        aws.answer("account", "ListRegions", regions(*REGIONS))
        folder = Path(name)
        roles = ", ".join(f"{{role: '{role(each)}'}}" for each in ACCOUNTS[1:])
        nothing = folder / "nothing"
        nothing.mkdir()
        idle = _collect(aws, _config(aws, nothing, "regions: [us-east-1]"))
        assert idle.looks == 0
        _fill(aws)
        config = _config(aws, folder, f"own_account: true, roles: [{roles}]")
        first = _collect(aws, config)
        _change(aws)
        second = _collect(aws, config)
    assert first.looks == second.looks == CERTIFICATES
    described, fetched = (second.calls[f"acm:{each}Certificate"] for each in ("Describe", "Get"))
    return [
        Result(
            what="aws: second look at ACM, times as fast as the first",
            measured=first.seconds / second.seconds,
            unit="",
            # A few hundred are looked at in no time: what a scan costs by itself would be compared.
            target=5 if CERTIFICATES >= 10_000 else None,
            at_least=True,
            how=f"{CERTIFICATES:,} certificates, 20 account-regions; {first.seconds:.1f} and {second.seconds:.1f} s",
        ),
        Result(
            what="aws: first look, peak above one at nothing",
            measured=first.peak - idle.peak,
            unit="MiB",
            target=150,
            how=f"{first.peak:.0f} and {idle.peak:.0f} MiB; of the second look {second.peak:.0f} MiB",
        ),
        Result(
            what="aws: requests of the first look, a certificate",
            measured=first.calls.total() / CERTIFICATES,
            unit="",
            how=_shown(first.calls),
        ),
        Result(
            what="aws: certificates fetched by the second look",
            measured=fetched,
            unit="",
            target=CHANGED,
            how=f"{CHANGED} had changed; {described} described; {_shown(second.calls)}",
        ),
    ]


def _shown(calls: Counter[str]) -> str:
    return ", ".join(f"{each.rpartition(':')[2]} {count:,}" for each, count in sorted(calls.items()))
