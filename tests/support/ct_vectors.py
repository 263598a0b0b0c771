"""Recorded real data of Certificate Transparency, for those who have it: a folder named by CERTWATCH_CT_VECTORS, or beside the
repository. Tests that need it leave themselves out, and say so, where it is not at hand."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[3] / "shared/vectors/ct"


def vectors(path: str) -> Path:
    folder = Path(os.environ.get("CERTWATCH_CT_VECTORS") or _BESIDE)
    found = folder / path
    if not found.exists():
        pytest.skip(f"recorded data of logs is not at hand: set CERTWATCH_CT_VECTORS to a folder with {path}")
    return found
