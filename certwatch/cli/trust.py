"""Which trust stores accept what is seen at a location, for `certwatch show`: by which path, or why not."""

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.text import common_name, shown
from certwatch.model.sighting import Served

if TYPE_CHECKING:
    from certwatch.pki.verdict import Verdict

#: By the store's name.
Trust = Mapping[str, "Verdict"]


def trust_of(served: Served, config: Path | None, now: datetime) -> Trust:
    """Blocking: reads the stores that the config names. A config or store that cannot be read is told on stderr, and nothing is
    said of trust."""
    if not served.chain or served.facts.get("arrangement", "chain") != "chain":
        return {}
    from certwatch.config.load import ConfigError, load
    from certwatch.doors.trust_files import TrustError, load_trust
    from certwatch.engine.judge import RuleSet
    from certwatch.pki.chains import by_store, purpose_at

    try:
        rules = RuleSet(trust=load_trust(load(config, env=os.environ).trust))
    except (ConfigError, TrustError) as error:
        click.echo(f"certwatch: trust is not shown: {shown(str(error))}", err=True)
        return {}
    stores = rules.trust_at(served.location)
    return by_store(served.chain, stores, now, purpose_at(served.location.kind))


def trust_lines(trust: Trust) -> Iterator[tuple[str, str]]:
    for name, verdict in trust.items():
        if verdict.fault is None:
            path = " < ".join(common_name(each.subject) for each in verdict.path)
            yield name, f"accepts it: {path}"
        else:
            at = verdict.fault.certificate
            whose = f"{at.shown} " if at is not None else ""
            yield name, f"refuses it: {whose}{verdict.fault.text}"


def trust_json(trust: Trust) -> list[dict[str, Any]]:
    """`fault` is one of a closed list (certwatch/pki/faults.py)."""
    return [
        {
            "store": name,
            "accepts": verdict.accepted,
            "path": [each.fingerprint_sha256.hex() for each in verdict.path],
            "fault": verdict.fault.kind if verdict.fault is not None else None,
            "certificate": verdict.fault.certificate.fingerprint_sha256.hex()
            if verdict.fault is not None and verdict.fault.certificate is not None
            else None,
            "text": verdict.fault.text if verdict.fault is not None else None,
        }
        for name, verdict in trust.items()
    ]
