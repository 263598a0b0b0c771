"""Prometheus' target lists, as files and URLs give them."""

import json

from collectors.tls.sources.groups import MOST_TARGETS, NotAList, read


def seeds() -> list[bytes]:
    group = {"targets": ["a.example:443", "https://b.example/x", "10.0.0.0/30"], "labels": {"team": "web"}}
    return [
        json.dumps([group, group]).encode(),
        b"- targets: ['a.example:443', http://plain.example]\n  labels: {team: web, n: 3}\n- targets: []\n",
        b"- &a\n  targets: [x.example]\n- *a\n",
    ]


def TestOneInput(data: bytes) -> None:
    for trusted in (True, False):
        try:
            listed = read(data, trusted=trusted)
        except NotAList as error:
            assert len(str(error)) < 1000
            continue
        assert len(listed.targets) <= MOST_TARGETS
        assert all(
            isinstance(value, str) for each in listed.targets for pair in each.labels for value in pair
        )
