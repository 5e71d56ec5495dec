"""Four generic names at the top: nobody else may own them here, or ours would be shadowed."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["api", "workers", "routing", "billing"]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_ours(name: str):
    module = importlib.import_module(name)

    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def test_no_other_distribution_brings_one_of_our_names():
    owners = importlib.metadata.packages_distributions()

    for name in PACKAGES:
        assert set(owners.get(name, [])) <= {"pointsman"}, name
