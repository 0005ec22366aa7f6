"""What all test files share: the path to their helpers, and an empty compiler between files."""

import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="module")
def forget_compilations():
    """Drop what a file compiled: each program holds memory maps, which a process has few of."""
    yield
    jax.clear_caches()
