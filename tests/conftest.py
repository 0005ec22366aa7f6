"""What all test files share: the path to their helpers, strictness, and an empty compiler."""

import gc
import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from compilations import CompilationTable

# The files that take longest, in this order, come first: begun last, they would leave the other
# process idle at the end.
LONG = ["test_relabel", "test_trainer", "test_contract", "test_config", "test_learning"]
LONG += ["test_programs", "test_docs", "test_run", "test_agent", "test_trajectory_encoders"]

# Two arrays whose numbers of axes differ are aligned from the right, whatever was meant.
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--compilations", action="store_true", help="print seconds of compiling by file at the end"
    )


def pytest_configure(config):
    if config.getoption("--compilations"):
        config.pluginmanager.register(CompilationTable())


def pytest_collection_modifyitems(items):
    names = {item: item.path.stem for item in items}
    items.sort(key=lambda item: LONG.index(names[item]) if names[item] in LONG else len(LONG))


# Tracing makes so many objects that Python, looking for garbage, takes a twentieth of the time.
gc.disable()

# Memory maps; a process has 65,530, and one run's programs are some 2,600.
MAPS = 20_000


@pytest.fixture(autouse=True, scope="module")
def forget():
    """Drop garbage after each file, and what was compiled once it holds too many memory maps."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or len(maps.read_bytes().splitlines()) > MAPS:
        jax.clear_caches()
    gc.collect()
