"""Every target is complete, and what is missing is said in one sentence."""

import re
import tomllib
from pathlib import Path

import jax
import pytest
from jax.experimental import topologies

from amago_jax.errors import ConfigError
from amago_jax.measure.targets import TARGETS, find_target, make_target_mesh

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_a_described_device_is_complete(name):
    target = TARGETS[name]
    assert target.name == name
    assert target.memory > 10e9
    assert target.bandwidth > 5e11
    assert 0 < target.rates["highest"] < target.rates["float32"] <= target.rates["bfloat16"]
    if target.platform == "cuda":
        assert target.kind in target.description
        assert re.findall(r"[{}]{2}|: [ \n]", target.description) == []
        assert target.launch > 0
        assert target.share < 1


def test_the_table_says_which_devices_there_are():
    with pytest.raises(ConfigError, match="target=h10 is unknown: did you mean h100"):
        find_target("h10")


def test_what_is_here_is_found():
    device = jax.local_devices()[0]
    here, host = find_target("here"), find_target("cpu")
    assert here.kind == device.device_kind
    assert here.memory > 1e8
    assert host.memory > 1e8
    assert not host.rates
    mesh = make_target_mesh(host, 1)
    assert mesh.size == 1
    assert mesh.devices.flat[0].platform == "cpu"


def test_a_device_that_is_here_has_the_rates_of_its_kind(monkeypatch):
    class Card:
        platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"

        def memory_stats(self):
            return {"bytes_limit": 60e9}

    monkeypatch.setattr(jax, "local_devices", lambda: [Card()])
    here = find_target("here")
    assert here.rates == TARGETS["h100"].rates
    assert here.memory == 60e9
    assert here.share == 1  # the limit is what JAX took


def test_more_processors_than_there_are_is_one_sentence():
    with pytest.raises(ConfigError, match=r"devices=1000 must be between 1 and .* for target=cpu"):
        make_target_mesh(find_target("cpu"), 1000)


@pytest.mark.parametrize("name", ["h100", "v5e"])
def test_a_missing_compiler_names_the_extra_that_brings_it(name, monkeypatch):
    def fail(**_):
        raise NotImplementedError("topology not implemented\nand more")

    monkeypatch.setattr(topologies, "get_topology_desc", fail)
    with pytest.raises(ConfigError) as error:
        make_target_mesh(TARGETS[name], 1)
    assert f"target={name}" in str(error.value)
    assert "\n" not in str(error.value)
    (extra,) = re.findall(r"pip install 'amago_jax\[(\w+)\]'", str(error.value))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert any(package.startswith("jax[") for package in extras[extra])
    assert jax.__version__ in str(error.value)


def test_a_tpu_is_the_smallest_arrangement_that_has_enough_chips(monkeypatch):
    asked = []

    class Described:
        devices = jax.local_devices()[:1] * 8

    def describe(**settings):
        asked.append(settings["topology_name"])
        return Described()

    monkeypatch.setattr(topologies, "get_topology_desc", describe)
    for name in ("TPU_SKIP_MDS_QUERY", "ALLOW_MULTIPLE_LIBTPU_LOAD"):
        monkeypatch.setenv(name, "1")
    for devices in (1, 4, 8):
        make_target_mesh(TARGETS["v5e"], devices)
    assert asked == ["v5e:2x2", "v5e:2x2", "v5e:2x4"]
