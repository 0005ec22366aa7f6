"""Compiled programs are kept on disk, for processes at once, and survive what goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from amago_jax.errors import ConfigError
from amago_jax.runs import compilation_cache
from amago_jax.runs.cli import check
from amago_jax.runs.compilation_cache import ENTRY, LAST_USE, use_compilation_cache
from tiny_runs import tiny_run

FLAGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)
# As `uses` does, in a process of its own.
PROCESS = """
import sys
folder, *sys.path[:0] = sys.argv[1:]
from test_compilation_cache import uses
print(*uses(folder))
"""


def uses(path):
    """Compile a program that no other test does; return the folder, and how often it was found."""
    found = []

    def listen(event, **_):
        found.append(event)

    jax.monitoring.register_event_listener(listen)
    folder = use_compilation_cache(str(path))
    x = jax.jit(lambda x: jnp.tanh(x @ x) + 41.5)(np.ones((8, 8), np.float32))
    jax.monitoring.unregister_event_listener(listen)
    np.testing.assert_allclose(x, 42.5, atol=1e-5)
    return folder, sum("cache_hits" in event for event in found)


def forget():
    """Let JAX know of no cache."""
    jax.config.update(FLAGS[0], None)
    jax_cache.reset_cache()
    compilation_cache._chosen = (None, 0.0)


@pytest.fixture
def unset(monkeypatch):
    """JAX as a process finds it that nobody told of a cache; afterwards as it was."""
    before = {flag: getattr(jax.config, flag) for flag in FLAGS}
    monkeypatch.setattr(compilation_cache, "_chosen", (None, 0.0))
    forget()
    yield
    for flag, value in before.items():
        jax.config.update(flag, value)
    jax_cache.reset_cache()


def start(folder):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder), *map(str, Path(__file__).parents[:2])],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    folder, hits = out.split()
    return Path(folder), int(hits)


def test_processes_at_once_share_a_folder_and_the_next_one_compiles_nothing(unset, tmp_path):
    places = {finish(process)[0] for process in [start(tmp_path) for _ in range(3)]}

    def later():
        """What a process finds, which is this one, made to forget."""
        forget()
        return uses(tmp_path)

    folder, hits = later()
    assert places == {folder}
    assert hits == 1
    entries = list(folder.glob(f"*{ENTRY}"))
    assert entries
    # A process killed while it writes leaves an entry without the time of its last use.
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:20])
        entry.with_name(entry.name.removesuffix(ENTRY) + LAST_USE).unlink()
    assert later() == (folder, 0)
    assert later() == (folder, 1)


def test_the_default_is_the_users_cache_folder_by_processor(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = use_compilation_cache()
    assert folder is not None
    assert folder.parent == tmp_path / "amago_jax"
    assert folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert use_compilation_cache(None) is None
    assert jax.config.jax_compilation_cache_dir is None


def test_what_jax_is_told_already_wins(unset, tmp_path):
    jax.config.update(FLAGS[0], str(tmp_path / "told"))
    assert use_compilation_cache(str(tmp_path / "other")) == tmp_path / "told"
    assert not (tmp_path / "other").exists()


def test_a_bound_is_kept(unset, tmp_path):
    folder = use_compilation_cache(str(tmp_path), max_gigabytes=20e-6)
    for number in range(12):
        jax.jit(lambda x, number=number: x * number + 7.25)(1.0)
    sizes = [entry.stat().st_size for entry in folder.glob(f"*{ENTRY}")]
    assert 0 < sum(sizes) <= 20_000
    assert len(sizes) < 12


def test_another_bound_of_the_same_folder_counts(unset, tmp_path):
    for number, bound in enumerate((1.0, 20e-6)):
        folder = use_compilation_cache(str(tmp_path), bound)
        for factor in range(12):
            jax.jit(lambda x, n=number, f=factor: x * f + n + 0.125)(1.0)
        size = sum(entry.stat().st_size for entry in folder.glob(f"*{ENTRY}"))
        assert (size <= 20_000) == (bound < 1)


def test_a_run_chooses_what_its_configuration_says(unset, tmp_path):
    for name in ("a", "b"):
        tiny_run(tmp_path / "run", f"compilation_cache.folder={tmp_path / name}")
        assert Path(jax.config.jax_compilation_cache_dir).parent == tmp_path / name
    tiny_run(tmp_path / "run", "compilation_cache.folder=null")
    assert jax.config.jax_compilation_cache_dir is None


def test_a_sweep_with_an_impossible_setting_does_not_begin():
    with pytest.raises(ConfigError, match=r"compilation_cache.max_gigabytes=-1"):
        check([[], ["compilation_cache.max_gigabytes=-1"]], "config")


def test_a_folder_that_cannot_be_used_is_named_and_nothing_else_happens(unset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"compilation_cache.folder=.*file/.* cannot be used"):
        assert use_compilation_cache(str(tmp_path / "file")) is None
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"folder": 3}, "compilation_cache.folder=3"),
        ({"max_gigabytes": 0}, "compilation_cache.max_gigabytes=0"),
        ({"max_gigabytes": float("nan")}, "compilation_cache.max_gigabytes=nan"),
        ({"max_gigabytes": "many"}, "compilation_cache.max_gigabytes='many'"),
        ({"max_gigabytes": True}, "compilation_cache.max_gigabytes=True"),
    ],
)
def test_impossible_settings_are_named(wrong, named):
    with pytest.raises(ConfigError, match=named):
        use_compilation_cache(**wrong)
