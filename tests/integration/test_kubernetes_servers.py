"""What the tests of Kubernetes run against could be had: told once, with the reason, and not by each of them."""

import os
import shutil

import pytest

from tests.support import kube_build
from tests.support.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.kubernetes("kube-apiserver", "helm")]


@pytest.mark.parametrize("name", ["kube-apiserver", "helm"])
def test_a_machine_with_go_has_built_it(name: str) -> None:
    if os.environ.get("KUBEBUILDER_ASSETS") or kube_build.found(name):
        return
    reason = kube_build.why_not(name)
    if os.environ.get("CI") and shutil.which("go") is not None:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason.splitlines()[0])


def test_etcd_is_installed() -> None:
    program("etcd", "etcd-server")
