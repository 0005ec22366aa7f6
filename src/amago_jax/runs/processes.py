"""Runs in processes of their own: what each gets of the machine, and what their parent leaves.

JAX starts with the imports, and an accelerator that the parent holds is none that a run can have.
So the parent computes on the processor, and says in variables, which processes inherit and read
before they start JAX, how much each may take.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import jax

from amago_jax.runs.interruption import Asked

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


@contextlib.contextmanager
def passing_on() -> Iterator[None]:
    """Tell SIGTERM to joblib's processes: who asks a sweep to end asks its runs."""
    Asked.to_end = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def tell(number: int, frame: FrameType | None) -> None:
        Asked.to_end = True
        for pid in _joblibs_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    before = signal.signal(signal.SIGTERM, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _joblibs_processes() -> list[int]:
    module = sys.modules.get("joblib.externals.loky.reusable_executor")
    executor = getattr(module, "_executor", None)
    return list(getattr(executor, "_processes", None) or ())


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
