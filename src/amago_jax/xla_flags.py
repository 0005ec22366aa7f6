"""XLA's flags that help on an NVIDIA GPU, set before JAX starts it.

They are read once, from the variable ``XLA_FLAGS``, when a process first uses a device. XLA stops
a process at a flag it does not know, so a version of jax that was not tried gets none.
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping

# By name; why is in docs/accelerators.md.
GPU_FLAGS = {
    "xla_gpu_enable_command_buffer": "+WHILE,+CONDITIONAL",
    "xla_gpu_enable_latency_hiding_scheduler": "true",
}
TRIED = ("0.10.", "0.11.")  # versions of jax
PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def with_gpu_flags(given: str) -> str:
    """Return flags with those of `GPU_FLAGS` added whose names are not among them.

    Args:
        given: as in ``XLA_FLAGS``, separated by spaces.
    """
    names = {flag.lstrip("-").partition("=")[0] for flag in given.split()}
    added = [f"--{name}={value}" for name, value in GPU_FLAGS.items() if name not in names]
    return " ".join([*given.split(), *added])


def wanted(environment: Mapping[str, str]) -> bool:
    """Return whether this process may use a GPU, with a version of jax whose flags are known.

    Args:
        environment: the process's variables; ``JAX_PLATFORMS`` may leave GPUs out.
    """
    platforms = environment.get("JAX_PLATFORMS", "") or "cuda"
    return (
        any(name in platforms.split(",") for name in ("cuda", "gpu"))
        and any(importlib.util.find_spec(plugin) is not None for plugin in PLUGINS)
        and importlib.metadata.version("jax").startswith(TRIED)
    )


def set_flags() -> None:
    """Add the flags to this process's variables, if it may use a GPU."""
    if wanted(os.environ):
        os.environ["XLA_FLAGS"] = with_gpu_flags(os.environ.get("XLA_FLAGS", ""))
