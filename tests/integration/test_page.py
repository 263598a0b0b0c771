"""A test page through a real Alertmanager to its receivers, confirmed by the code that they got."""

import json
import re
from pathlib import Path

import pytest

from tests.support.daemon import Certwatch
from tests.support.prometheus import alertmanager, alerts
from tests.support.remediation import Receiver
from tests.support.servers import free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
ROUTES = """
route:
  receiver: rest
  group_by: ['...']
  group_wait: 0s
  group_interval: 1s
  routes:
    - {{matchers: ['severity="page"', 'page="payments-oncall"'], receiver: payments}}
    - {{matchers: ['route="security"'], receiver: silent}}
receivers:
  - {{name: rest, webhook_configs: [{{url: '{rest}', send_resolved: true}}]}}
  - {{name: payments, webhook_configs: [{{url: '{payments}', send_resolved: true}}]}}
  - {{name: silent}}
"""
CONFIG = """inventory: sqlite://{folder}/inventory.db
exporters: [{{kind: alertmanager, urls: ['{url}']}}]
collectors: []
owners:
  - {{team: payments, when: 'location.labels.namespace == "payments"', page: payments-oncall}}
routes: [{{to: security, when: 'finding.rule == "compromised"'}}]
"""


def command(folder: Path, url: str) -> Certwatch:
    path = folder / "certwatch.yaml"
    path.write_text(CONFIG.format(folder=folder, url=url))
    return Certwatch(process=None, config=path, inventory=folder, log_file=folder / "log", port=0)  # type: ignore[arg-type]


def code(receiver: Receiver) -> str:
    [found] = {re.search(r"confirm (\w{8})", each["annotations"]["summary"]) for each in receiver.alerts}
    assert found is not None
    return found[1]


def test_pages_take_the_ways_that_real_ones_take_and_are_confirmed(tmp_path: Path) -> None:
    rest, payments = Receiver(), Receiver()
    with (
        rest.listening() as rest_url,
        payments.listening() as payments_url,
        alertmanager(
            tmp_path / "alertmanager", config=ROUTES.format(rest=rest_url, payments=payments_url)
        ) as url,
    ):
        it = command(tmp_path, url)
        done = it.command("page", "test", "--by", "alice", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["pages"] == [
            {"team": "payments", "page": "payments-oncall", "receivers": ["payments"]},
            {"team": "unowned", "receivers": ["rest"]},
            {"team": "unowned", "route": "security", "receivers": ["silent"]},
        ]
        wait_until(lambda: bool(rest.alerts and payments.alerts), what="both pages", seconds=60)
        assert payments.told == [("firing", "test-page")]
        # Nobody who reads the record can say that a page arrived.
        kept = (tmp_path / "proofs.ndjson").read_text()
        assert code(rest) not in kept
        assert it.command("page", "confirm", "ABCDEFGH").returncode == 3
        for receiver in (rest, payments):
            done = it.command("page", "confirm", code(receiver).lower(), "--by", "bob")
            assert (done.returncode, "s after it was sent" in done.stdout) == (0, True), done.stderr
        # Over, by the receiver's own word.
        wait_until(lambda: ("resolved", "test-page") in payments.told, what="the page to be over", seconds=60)
        listed = it.command("page", "list", "--json")
        # Nobody has heard of the third: its receiver tells nobody.
        assert listed.returncode == 1
        found = {each.get("route") or each["team"]: each for each in json.loads(listed.stdout)["pages"]}
        assert (found["payments"]["received_by"], found["security"]["received"]) == ("bob", None)
        assert {each["labels"]["team"] for each in alerts(url)} == {"unowned"}


def test_an_alertmanager_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = command(tmp_path, url).command("page", "test")
    assert (done.returncode, url in done.stderr, "Traceback" in done.stderr) == (3, True, False)
    assert not (tmp_path / "proofs.ndjson").exists()
