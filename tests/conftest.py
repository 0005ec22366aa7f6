"""What all test files share: the path to their helpers, and an empty compiler between files."""

import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))

# Files of few but long tests. Begun last, they would leave the other process idle at the end.
LONG = ("test_training", "test_run", "test_learning", "test_docs", "test_convolutions")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(autouse=True, scope="module")
def forget_compilations():
    """Drop what a file compiled: each program holds memory maps, which a process has few of."""
    yield
    jax.clear_caches()
