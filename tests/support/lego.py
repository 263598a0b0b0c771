"""A lego that follows ARI, which `tools/lego.sh` builds with Go: Debian's does not yet."""

from tests.support.go_programs import built

#: Half a minute alone on two cores.
BUILD_SECONDS = 420


def lego_with_ari() -> str:
    """Its path. Without Go the test is left out, which it says."""
    return built("lego.sh", "lego that follows ARI", seconds=BUILD_SECONDS)
