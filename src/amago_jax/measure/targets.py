"""Devices that a run can be compiled for: what XLA must know of them, and their published rates.

A device that is not here is described to XLA's own compiler for its platform, which comes with an
extra of this package. Rates are dense ones, per device, without sparsity.

Sources: NVIDIA H100, H200 and A100 data sheets (SXM, 80 GB for the A100); Google Cloud, "TPU v5e";
the limits of NVIDIA's chips are those of compute capabilities 8.0 and 9.0 in the CUDA C++
Programming Guide.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from amago_jax.errors import ConfigError, first_line, how_to_install, suggest
from amago_jax.parallel import arrange

HERE, CPU = "here", "cpu"
GPU_SHARE = 0.75  # of a GPU's memory is what JAX takes, unless XLA_PYTHON_CLIENT_MEM_FRACTION says
# The least that a launch took, one behind another in a loop, on an H100: 225,000 steps/s of 24
# environments (docs/benchmarks.md) are 0.107 ms for the 70 of a step. Rounded down, for a compiler
# that cannot time its kernels leaves a launch or two more. Other GPUs are presumed alike.
GPU_LAUNCH = 1.4e-6

_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared}  shared_memory_per_block_optin: {block}
  core_count: {cores}  fpus_per_core: {units}  clock_rate_ghz: {clock}
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}  device_memory_size: {memory}  l2_cache_size: {cache}
  cuda_compute_capability {{ major: {major} }}
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 9 }}
device_description_str: "{kind}"
"""
EXTRAS = {"cuda": "cuda12", "tpu": "tpu"}  # of the package, with XLA's compiler for a platform
# Chips and their arrangement; an estimate takes the first of the smallest that has enough.
_TPU_SHAPES = {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8"}


@dataclasses.dataclass(frozen=True)
class Target:
    """One kind of device.

    Attributes:
        name: what the user calls it.
        kind: what JAX calls it, `jax.Device.device_kind`.
        platform: what XLA compiles for: "cuda", "tpu" or "cpu".
        memory: bytes that it has.
        rates: FLOP/s of matrix products by precision, see `amago_jax.measure.operations`;
            "float32" is what JAX makes of float32 unless told otherwise: TF32 on a GPU, one pass
            in bfloat16 on a TPU. Empty: not published.
        bandwidth: of the memory, bytes a second; None: not published.
        launch: seconds that a launch takes at least; None: not known.
        share: of the memory, what JAX takes unless it is told otherwise.
        description: for XLA, of a GPU.
    """

    name: str
    kind: str
    platform: str
    memory: float
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    bandwidth: float | None = None
    launch: float | None = None
    share: float = 1.0
    description: str = ""


def _gpu(
    name: str, kind: str, rates: Mapping[str, float], bandwidth: float, **chip: float
) -> Target:
    description = _GPU.format(kind=kind, bandwidth=int(bandwidth), **chip)
    return Target(
        name,
        kind,
        "cuda",
        float(chip["memory"]),
        rates,
        bandwidth,
        launch=GPU_LAUNCH,
        share=GPU_SHARE,
        description=description,
    )


_HOPPER_RATES = {"float32": 494.7e12, "highest": 66.9e12, "bfloat16": 989.4e12, "float16": 989.4e12}
_HOPPER = {"cores": 132, "units": 128, "clock": 1.98, "cache": 50 * 2**20, "major": 9}
_HOPPER |= {"shared": 233472, "block": 232448}
_AMPERE_RATES = {"float32": 156e12, "highest": 19.5e12, "bfloat16": 312e12, "float16": 312e12}
_AMPERE = {"cores": 108, "units": 64, "clock": 1.41, "cache": 40 * 2**20, "major": 8}
_AMPERE |= {"shared": 167936, "block": 166912}
# In float32 proper a product takes six passes in bfloat16.
_V5E_RATES = {"float32": 197e12, "highest": 197e12 / 6, "bfloat16": 197e12}
TARGETS = {
    target.name: target
    for target in (
        _gpu(
            "h100", "NVIDIA H100 80GB HBM3", _HOPPER_RATES, 3.35e12, memory=84978434048, **_HOPPER
        ),
        _gpu("h200", "NVIDIA H200", _HOPPER_RATES, 4.8e12, memory=150110011392, **_HOPPER),
        _gpu(
            "a100", "NVIDIA A100-SXM4-80GB", _AMPERE_RATES, 2.039e12, memory=84974239744, **_AMPERE
        ),
        Target("v5e", "TPU v5 lite", "tpu", 16.0 * 2**30, _V5E_RATES, 819e9),
    )
}


def find_target(name: str) -> Target:
    """Return a target by name; "here" is the present default device, "cpu" this host's processor.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name in TARGETS:
        return TARGETS[name]
    if name == HERE:
        return _present(jax.local_devices()[0])
    if name == CPU:
        return _host()
    raise ConfigError(f"target={name} is unknown: {suggest(name, [*TARGETS, CPU, HERE])}")


def make_target_mesh(target: Target, devices: int, seeds: int = 1) -> Mesh:
    """Return a mesh of devices that need not be here, to compile for.

    Args:
        target: what kind of device.
        devices: how many.
        seeds: see `amago_jax.parallel.make_mesh`.

    Raises:
        ConfigError: if the compiler is not installed, or there are no such devices.
    """
    if target.platform == "cpu":
        found = jax.local_devices(backend="cpu")
    else:
        found = _describe(target, max(1, devices))
    if not 1 <= devices <= len(found):
        more = f"; JAX_NUM_CPU_DEVICES={devices} shows more" if target.platform == "cpu" else ""
        raise ConfigError(
            f"devices={devices} must be between 1 and {len(found)} for target={target.name}{more}"
        )
    return arrange(found[:devices], seeds)


def _describe(target: Target, devices: int) -> Any:
    """Return devices that XLA's compiler for the platform believes in."""
    settings: dict[str, Any] = {"topology_name": target.name}
    if target.platform == "cuda":
        settings |= {"target_config": target.description, "topology": f"1x1x{devices}"}
    else:
        # No machine is asked what it is, and no chip is taken from another process.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        size = min((size for size in _TPU_SHAPES if size >= devices), default=max(_TPU_SHAPES))
        settings["topology_name"] = f"{target.name}:{_TPU_SHAPES[size]}"
    try:
        return topologies.get_topology_desc(platform=target.platform, **settings).devices
    except Exception as error:  # whatever a plugin raises that is missing or too old
        raise ConfigError(
            f"target={target.name} needs XLA's compiler for {target.platform} in jax "
            f"{jax.__version__} ({first_line(error)}): "
            f"{how_to_install(EXTRAS[target.platform])}"
        ) from error


def _present(device: jax.Device) -> Target:
    """Return what is known of a device that is here."""
    if device.platform == "cpu":
        return dataclasses.replace(_host(), name=HERE)
    found = Target(HERE, device.device_kind, device.platform, np.inf)
    for known in TARGETS.values():
        if device.device_kind == known.kind:
            found = dataclasses.replace(known, name=HERE)
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return found if limit is None else dataclasses.replace(found, memory=float(limit), share=1.0)


def _host() -> Target:
    """Return this host's processor, whose rates nobody has published."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Target(CPU, "cpu", "cpu", float(memory))
