"""Several processes, on one host or many, that train one run together.

Every process runs the same program on its devices, see `amago_jax.parallel`. The first of them
writes; all others only compute. Where one is lost, none can go on.
"""

import contextlib
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jax.experimental import multihost_utils

from amago_jax.errors import ConfigError, UserError, first_line
from amago_jax.runs.schema import check_section

LOST = (
    "error: this process ended because another one of the run ended or cannot be reached, or was "
    "killed itself; what the run has saved is intact"
)
# JAX's own client, told that others are gone, ends the process without asking Python. So another
# one, which imports nothing, waits for the end, and tells what it means unless all went well.
_WATCH = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"
_COLLECTIVE = re.compile("gloo|nccl|coordination service", re.IGNORECASE)
_LONGEST = 4096  # bytes of what is told to all

_watch: "subprocess.Popen[str] | None" = None


def join(settings: Mapping[str, Any]) -> None:
    """Join the other processes of the run, unless it has none, or that is done.

    It must be called before JAX looks for devices.

    Args:
        settings: ``auto`` (SLURM, Open MPI, Kubernetes or a TPU pod tells), or ``coordinator``
            (address and port of the first process), ``processes`` (how many) and ``process`` (which
            one, from 0); ``timeout`` (seconds after which a silent process is lost).

    Raises:
        ConfigError: if settings are missing or wrong, or the others are not found.
    """
    global _watch
    auto, address = settings["auto"], settings["coordinator"]
    if (not auto and address is None) or _watch is not None:
        return
    check_section("distributed", settings)
    count, index, timeout = settings["processes"], settings["process"], settings["timeout"]
    if not auto:
        _check(address, count, index)
    try:
        jax.distributed.initialize(
            address,
            count,
            index,
            cluster_detection_method=None if auto else "deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=timeout,
        )
    except (ValueError, RuntimeError) as error:
        found = "auto=true" if auto else f"coordinator={address}"
        raise ConfigError(
            f"distributed.{found}: the processes of the run do not find each other: "
            f"{first_line(error)}"
        ) from error
    _watch = subprocess.Popen(
        [sys.executable, "-c", _WATCH, LOST], stdin=subprocess.PIPE, text=True
    )


def is_writer() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def tell_all(text: str) -> str:
    """Return what the first process gave as text, in all of them, once all have called this.

    Raises:
        ValueError: if it is longer than can be told.
    """
    if jax.process_count() == 1:
        return text
    content = text.encode()
    if len(content) > _LONGEST:
        raise ValueError(f"{len(content)} bytes are more than the {_LONGEST} that can be told")
    told = np.zeros(_LONGEST, np.uint8)
    told[: len(content)] = np.frombuffer(content, np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(told)).rstrip(b"\0").decode()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Leave at once, with one sentence, where another process of the run is lost."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if _watch is None:
            raise
        # What collectives raise is not always an error of JAX's.
        if isinstance(error, JaxRuntimeError) or _COLLECTIVE.search(str(error)):
            print(f"{LOST} ({first_line(error)})", file=sys.stderr)
        else:
            traceback.print_exc()
        leave(1)
    else:
        _all_is_well()


def leave(code: int) -> NoReturn:
    """End this process with an exit code.

    One of several does so at once: JAX would wait for all others first, and these are waiting for
    this one, which they will find gone.
    """
    _all_is_well()
    if _watch is None:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _all_is_well() -> None:
    """Tell what watches this process that its end is no surprise."""
    if _watch is not None and _watch.stdin is not None and not _watch.stdin.closed:
        _watch.stdin.write("yes")
        _watch.stdin.close()


def _check(address: Any, count: Any, index: Any) -> None:
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(
            f"distributed.coordinator={address} must be an address and a port, as in 10.0.0.1:12345"
        )
    if count is None or index is None or index >= count:
        raise ConfigError(
            f"distributed.processes={count} and distributed.process={index} must say how many "
            "processes there are, and which of them, from 0, this one is"
        )
