"""The compose file names what there is, and its configs are good ones."""

from pathlib import Path

import yaml
from click.testing import CliRunner

from certwatch.cli.app import app
from certwatch.config.load import read as read_config

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
ENV = {"DB_PASSWORD": "secret", "HOME": "/"}


def test_two_daemons_and_a_worker_share_the_database_that_it_starts() -> None:
    services = COMPOSE["services"]
    assert services.keys() == {"db", "certwatch-a", "certwatch-b", "worker"}
    database = services["db"]["environment"]
    for name in ("certwatch.yaml", "worker.yaml"):
        config = read_config((FOLDER / name).read_text(), env=ENV)
        user, base = database["POSTGRES_USER"], database["POSTGRES_DB"]
        assert config.inventory == f"postgresql://{user}:secret@db/{base}"


def test_commands_mounts_and_files_are_real_ones() -> None:
    for name, service in COMPOSE["services"].items():
        if name == "db":
            continue
        context = (FOLDER / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).is_file()
        verb, *words = service["command"]
        asked = CliRunner().invoke(app, [verb, "--help"])
        assert asked.exit_code == 0, asked.output
        assert all(word in asked.output for word in words if word.startswith("--"))
        mounts = dict(each.split(":")[:2] for each in service["volumes"])
        for source, target in mounts.items():
            assert not source.startswith("./") or (FOLDER / source).is_file()
            assert target in service["command"] or target == "/data"


def test_the_zone_of_its_collector_is_that_of_its_worker() -> None:
    config = yaml.safe_load((FOLDER / "certwatch.yaml").read_text())
    zones = {each["zone"] for each in config["collectors"] if "zone" in each}
    command = COMPOSE["services"]["worker"]["command"]
    assert zones == {command[command.index("--queue") + 1]}
