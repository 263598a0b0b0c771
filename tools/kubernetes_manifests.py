"""Writes what in deploy/ follows from something else: the chart's rights from the collector's table of resources, the plain
manifest from the chart. Run it after either was changed: python -m tools.kubernetes_manifests"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from collectors.kubernetes.config import SOURCES
from collectors.kubernetes.resources import NAMESPACES, RESOURCES, Resource
from tests.support import kube_build

DEPLOY = Path(__file__).parent.parent / "deploy"
CHART = DEPLOY / "helm" / "certwatch"
RIGHTS = CHART / "files" / "rights.yaml"
MANIFEST = DEPLOY / "kubernetes" / "certwatch.yaml"

_ABOUT_RIGHTS = """\
# What the collector lists and watches for each of its sources: made from collectors/kubernetes/resources.py by
# python -m tools.kubernetes_manifests. `scope` is cluster, namespaced, or the one namespace that is meant.
"""
_ABOUT_MANIFEST = """\
# certwatch in a cluster without Helm: one pod, its inventory on a volume, rights to list and watch and none to write.
# Made from deploy/helm/certwatch with its defaults by python -m tools.kubernetes_manifests.
#   kubectl apply -k deploy/kubernetes        (or: kubectl apply -f deploy/kubernetes/certwatch.yaml)
apiVersion: v1
kind: Namespace
metadata:
  name: certwatch
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def rights() -> dict[str, list[dict[str, Any]]]:
    """By source; `owners` is what is read whatever they are."""
    found: dict[str, list[dict[str, Any]]] = {"owners": [], **{source: [] for source in SOURCES}}
    for resource in (NAMESPACES, *RESOURCES):
        if not resource.part_of_all:
            _add(found[resource.source or "owners"], resource)
    return found


def _add(rights: list[dict[str, Any]], resource: Resource) -> None:
    scope = resource.only_in or ("namespaced" if resource.namespaced else "cluster")
    for right in rights:
        if (right["group"], right["scope"]) == (resource.group, scope):
            right["resources"].append(resource.plural)
            return
    rights.append({"group": resource.group, "scope": scope, "resources": [resource.plural]})


def rights_file() -> str:
    return _ABOUT_RIGHTS + yaml.safe_dump(rights(), sort_keys=False, default_flow_style=None)


def rendered(
    *values: str, release: str = "certwatch", namespace: str = "certwatch", helm: Path | None = None
) -> str:
    """The chart by the real helm. Raises FileNotFoundError: there is none; CalledProcessError."""
    program = helm or kube_build.found("helm")
    if program is None:
        raise FileNotFoundError(kube_build.why_not("helm"))
    done = subprocess.run(  # noqa: S603 - our own chart
        [program, "template", release, CHART, "--namespace", namespace, *values],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def manifest() -> str:
    """Without what is Helm's own matter."""
    documents = [each.strip("\n") for each in rendered().split("\n---\n")]
    lines = "\n---\n".join(documents).removeprefix("---\n").splitlines()
    kept = [line for line in lines if not line.startswith("# Source:") and "managed-by: Helm" not in line]
    return _ABOUT_MANIFEST + "---\n" + "\n".join(kept) + "\n"


def main() -> int:
    RIGHTS.write_text(rights_file())
    try:
        MANIFEST.write_text(manifest())
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{MANIFEST}: not renewed: {getattr(error, 'stderr', None) or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
