"""What a worker is told to look at: one collector, as it stands in the daemon's config, without what is secret in it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from certwatch.config.load import read
from certwatch.config.mistakes import ConfigError
from certwatch.config.settings import CollectorSettings
from certwatch.engine.collect import CollectorJob

_encode = msgspec.json.Encoder(order="sorted").encode


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    kind: str
    labels: dict[str, str]
    #: The plug-in's keys. `${NAME}` and `*_file` mean the worker's own environment and files.
    config: dict[str, Any]


def spec_of(job: CollectorJob) -> str:
    """The same text for the same collector."""
    spec = Spec(name=job.name, kind=job.kind, labels=dict(job.labels), config=dict(job.written))
    return _encode(spec).decode()


def read_spec(text: str) -> Spec:
    """Raises ConfigError: whoever wrote it is another version."""
    try:
        return msgspec.json.decode(text, type=Spec)
    except msgspec.MsgspecError as error:
        raise ConfigError(
            [f"what the daemon says of this job cannot be read ({error}). Run the same version everywhere"]
        ) from error


def settings_of(spec: Spec, env: Mapping[str, str]) -> CollectorSettings:
    """Checked as the worker's own config would be; secrets are the worker's. Blocking. Raises ConfigError."""
    document = {
        "inventory": "sqlite:///none",
        "exporters": [],
        "collectors": [{**spec.config, "name": spec.name, "kind": spec.kind}],
    }
    # JSON is YAML.
    (settings,) = read(_encode(document).decode(), env=env).collectors
    return settings
