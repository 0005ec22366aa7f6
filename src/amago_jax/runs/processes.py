"""Runs in processes of their own: what each gets of the machine, and what their parent leaves.

JAX starts with the imports, and an accelerator that the parent holds is none that a run can have.
So the parent computes on the processor, and says in variables, which processes inherit and read
before they start JAX, how much each may take.
"""

import os
import sys

import jax

PLATFORMS, GIVEN = "JAX_PLATFORMS", "AMAGO_JAX_GIVEN_PLATFORMS"
CORES, MEMORY = "NPROC", "XLA_PYTHON_CLIENT_MEM_FRACTION"
GPU_SHARE = 0.75  # of a GPU's memory, for all runs on it together: what JAX takes for one


def leave_accelerators() -> None:
    """Start this command anew on the processor, unless it is there already; does not return."""
    if jax.default_backend() == "cpu":
        return
    os.environ[GIVEN] = os.environ.get(PLATFORMS, "")
    os.environ[PLATFORMS] = "cpu"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def give_platforms_back() -> bool:
    """Undo for the processes to come what `leave_accelerators` changed.

    Returns:
        Whether this command has left accelerators.
    """
    given = os.environ.pop(GIVEN, None)
    if given is None:
        return False
    os.environ.pop(PLATFORMS, None)
    if given:
        os.environ[PLATFORMS] = given
    return True


def share_machine(processes: int) -> None:
    """Give each of several processes its part of the cores and of a GPU's memory.

    What the user says in the same variables stands.

    Args:
        processes: as many run at a time.
    """
    if processes > 1:
        os.environ.setdefault(CORES, str(max(1, cores() // processes)))
        os.environ.setdefault(MEMORY, f"{GPU_SHARE / processes:.3f}")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
