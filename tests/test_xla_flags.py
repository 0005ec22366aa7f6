"""Flags for a GPU are there before JAX starts, unless the user says other."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from amago_jax import xla_flags
from amago_jax.xla_flags import GPU_FLAGS, wanted, with_gpu_flags


@pytest.fixture
def plugin(monkeypatch):
    """As where the CUDA plugin is installed."""
    monkeypatch.setattr(xla_flags, "PLUGINS", ("amago_jax",))


def test_what_the_user_says_is_kept():
    name = next(iter(GPU_FLAGS))
    given = f"--{name}= --xla_gpu_autotune_level=0"
    flags = with_gpu_flags(given).split()
    assert flags[:2] == given.split()
    assert [flag.partition("=")[0] for flag in flags].count(f"--{name}") == 1
    assert {flag.lstrip("-").partition("=")[0] for flag in flags} >= set(GPU_FLAGS)
    assert with_gpu_flags(" ".join(flags)).split() == flags


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [(None, True), ("", True), ("cuda,cpu", True), ("gpu", True), ("cpu", False), ("tpu", False)],
)
def test_they_are_wanted_where_there_may_be_a_gpu(plugin, platforms, expected):
    assert wanted({} if platforms is None else {"JAX_PLATFORMS": platforms}) is expected


def test_they_are_not_wanted_without_the_plugin_or_of_an_unknown_version(plugin, monkeypatch):
    monkeypatch.setattr(xla_flags, "TRIED", ("0.1.",))
    assert not wanted({})
    monkeypatch.undo()
    monkeypatch.setattr(xla_flags, "PLUGINS", ("no_such_plugin",))
    assert not wanted({})


def test_importing_the_package_sets_them_before_jax_starts(tmp_path):
    """And XLA knows them: it stops a process at a flag that it does not know."""
    (tmp_path / f"{xla_flags.PLUGINS[0]}.py").touch()
    program = (
        "import os, sys; import amago_jax; import jax; "
        "assert jax.numpy.ones(2).sum() == 2; print(os.environ['XLA_FLAGS'])"
    )
    environment = {name: x for name, x in os.environ.items() if name != "JAX_PLATFORMS"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "XLA_FLAGS": ""}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    tried = importlib.metadata.version("jax").startswith(xla_flags.TRIED)
    assert ran.stdout.strip() == (with_gpu_flags("") if tried else "")
