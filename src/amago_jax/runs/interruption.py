"""Being asked to end: the epoch is finished and saved first."""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils

from amago_jax.runs.closing import Closing

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN = 1.0  # seconds


class Asked:
    """Whether a process that trains one run after the other was asked to end, but no run of it.

    Attributes:
        to_end: whether it was, in this process.
    """

    to_end = False

    @classmethod
    def listen(cls) -> None:
        """Note SIGTERM from now on; while a run trains, `Interruption` does."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, cls._note)

    @classmethod
    def _note(cls, number: int, frame: FrameType | None) -> None:
        cls.to_end = True


class Interruption(Closing):
    """Notes, as a context, that the process was asked to end by SIGTERM or SIGINT.

    Asked again a second later or more, the process ends at once, with exit code 128 and the
    signal's number. Sooner, it is the same wish: whoever tells a process and its group tells twice.
    """

    def __init__(self, exits: bool = True) -> None:
        """Nothing was asked yet.

        Args:
            exits: False: SIGINT does not end the process when it comes again, but raises
                KeyboardInterrupt there and then, for the process is a notebook's, say. An epoch
                that this breaks off may take the training state with it.
        """
        self._exits = exits
        self._signal: signal.Signals | None = None
        self._when = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Begin to listen; in threads other than the main one, Python hears no signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        if Asked.to_end:  # while the run was built
            self._note(signal.SIGTERM, None)
        return self

    def close(self) -> None:
        """Leave signals to whoever heard them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> str | None:
        """The signal's name, once there was one; of several processes, all must ask for this."""
        own = 0 if self._signal is None else int(self._signal)
        if jax.process_count() > 1:
            own = int(multihost_utils.process_allgather(np.int32(own)).max())
        return signal.Signals(own).name if own else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            if time.monotonic() - self._when >= AGAIN:
                if number == signal.SIGINT and not self._exits:
                    raise KeyboardInterrupt("at once; Run.resume goes on from what was saved")
                os._exit(128 + number)
            return
        self._signal, self._when = signal.Signals(number), time.monotonic()
        print(
            f"{self._signal.name}: ends when the epoch is finished and saved; "
            "once more ends at once",
            file=sys.stderr,
            flush=True,
        )
