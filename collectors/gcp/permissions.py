"""The permission behind each path that is asked: `deploy/gcp/role.yaml` is written from it by `python -m tools.cloud_policies`."""

from collections.abc import Mapping
from typing import Any

_PARENT = r"/v1/projects/[^/]+/locations/[^/]+"
_COMPUTE = r"/compute/v1/projects/[^/]+"

#: Pattern of the whole path to permission.
BY_PATH: Mapping[str, str] = {
    f"{_PARENT}/certificates": "certificatemanager.certs.list",
    f"{_PARENT}/trustConfigs": "certificatemanager.trustconfigs.list",
    f"{_PARENT}/certificateMaps": "certificatemanager.certmaps.list",
    f"{_PARENT}/certificateMaps/[^/]+/certificateMapEntries": "certificatemanager.certmapentries.list",
    f"{_COMPUTE}/aggregated/sslCertificates": "compute.sslCertificates.list",
    f"{_COMPUTE}/aggregated/targetHttpsProxies": "compute.targetHttpsProxies.list",
    f"{_COMPUTE}/global/targetSslProxies": "compute.targetSslProxies.list",
    f"{_COMPUTE}/aggregated/forwardingRules": "compute.forwardingRules.list",
    f"{_PARENT}/caPools": "privateca.caPools.list",
    f"{_PARENT}/caPools/[^/]+/certificateAuthorities": "privateca.certificateAuthorities.list",
    f"{_PARENT}/caPools/[^/]+/certificates": "privateca.certificates.list",
    r"/v3/projects:search": "resourcemanager.projects.get",
}


def role() -> dict[str, Any]:
    """As `gcloud iam roles create --file` takes it."""
    return {
        "title": "certwatch",
        "description": "Reads certificates and who uses them",
        "stage": "GA",
        "includedPermissions": sorted(set(BY_PATH.values())),
    }
