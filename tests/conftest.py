"""What all test files share: the path to their helpers, strictness, and an empty compiler."""

import gc
import math
import resource
import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from compilations import CompilationTable

# The files that take longest, in this order, come first: begun last, they would leave the other
# process idle at the end.
LONG = ["test_trainer", "test_config", "test_relabel", "test_learning", "test_contract"]
LONG += ["test_docs", "test_notebooks", "test_programs", "test_golden_agent", "test_hosts"]
LONG += ["test_resume", "test_jobs", "test_seeds", "test_memory", "test_trajectory_encoders"]
LONG += ["test_suites", "test_launchers", "test_crafter", "test_examples", "test_ppo"]
LONG += ["test_maze_runner", "test_estimating", "test_agent", "test_run", "test_distributions"]
LONG += ["test_finite_differences", "test_changing", "test_trajectories"]

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


# Tracing makes so many objects that Python, looking for garbage, takes a twentieth of the time; and
# what imports left, which stays, is most of what it would look through.
gc.disable()


def pytest_collection_finish():
    """Leave what imports made out of every look for garbage."""
    gc.freeze()


# Memory maps; a process has 65,530, and one run's programs are some 2,600.
MAPS = 20_000
# Bytes of memory that may come to those in use after the last look for garbage.
GROWTH = 1e9


def _in_use():
    """Return this process's memory maps, and the bytes of memory it holds."""
    process = Path("/proc/self")
    if not process.exists():
        return math.inf, math.inf
    pages = int((process / "statm").read_text().split()[1])
    return len((process / "maps").read_bytes().splitlines()), pages * resource.getpagesize()


_before = 0.0


def _forget():
    """Drop what was compiled and garbage, once they are too much."""
    global _before
    maps, memory = _in_use()
    if maps > MAPS:
        jax.clear_caches()
    if maps > MAPS or memory > _before + GROWTH:
        gc.collect()
        _before = _in_use()[1]


@pytest.fixture(autouse=True, scope="module")
def forget_after_each_file():
    yield
    _forget()


@pytest.fixture
def forget_after_each_test():
    """For a file of too many programs to be held together."""
    yield
    _forget()
