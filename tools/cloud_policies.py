"""Writes the least rights that the cloud collectors need, as each cloud takes them, to `deploy/`."""

import json
from pathlib import Path

import yaml

from collectors.aws import policy as aws
from collectors.azure import permissions as azure
from collectors.gcp import permissions as gcp

_HEAD = """\
# The role that certwatch takes on: a stack for one account, or a stack set for all of an organisation.
"""
DEPLOY = Path(__file__).parent.parent / "deploy"


def files() -> dict[Path, str]:
    found = {
        DEPLOY / "aws" / name: json.dumps(document, indent=2) + "\n"
        for name, document in aws.policies().items()
    }
    found |= {
        DEPLOY / "azure" / name: json.dumps(document, indent=2) + "\n"
        for name, document in azure.roles().items()
    }
    found[DEPLOY / "gcp" / "role.yaml"] = yaml.safe_dump(gcp.role(), sort_keys=False)
    found[DEPLOY / "aws" / "role.yaml"] = _HEAD + yaml.safe_dump(aws.role_template(), sort_keys=False)
    return found


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
