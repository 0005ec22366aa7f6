"""A logger that can neither end a run nor hold it up, whatever a vendor's client does."""

import contextlib
import io
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from amago_jax.errors import first_line
from amago_jax.runs.logging.base import Logger, Outcome, Row, RunInfo

WAITING = 1000  # rows and pictures; a logger that is so far behind gets no more
SECONDS_TO_START = 120.0
SECONDS_TO_FINISH = 90.0  # with what waits when the run ends


class GuardedLogger:
    """Calls a logger, in order, in a thread of its own; of its first failure it tells once.

    Attributes:
        logger: what it calls.
        name: of its entry in the configuration.
    """

    def __init__(
        self,
        name: str,
        logger: Logger,
        tell: Callable[[str], None],
        *,
        waiting: int = WAITING,
        seconds: tuple[float, float] = (SECONDS_TO_START, SECONDS_TO_FINISH),
    ) -> None:
        """Nothing is started yet.

        Args:
            name: of the logger's entry in the configuration.
            logger: what to call.
            tell: shows a line.
            waiting: rows and pictures that may wait.
            seconds: how long `start` and `close` wait for the logger at most.
        """
        self.name, self.logger = name, logger
        self._tell, self._seconds = tell, seconds
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name=f"logger.{name}", daemon=True)
        self._started, self._told = False, False
        self._error: BaseException | None = None

    def start(self, info: RunInfo) -> str | None:
        """Start the logger; see `Logger.start`."""
        found: list[str | None] = []
        self._thread.start()
        self._wait(lambda: found.append(self.logger.start(info)), self._seconds[0])
        self._started = self.check()
        return str(found[0]) if self._started and found[0] is not None else None

    def log(self, row: Row, step: int) -> None:
        """Have a row logged; see `Logger.log`."""
        copied = dict(row)
        self._put(lambda: self.logger.log(copied, step))

    def picture(self, name: str, path: Path, step: int) -> None:
        """Have a picture logged; see `Logger.picture`."""
        self._put(lambda: self.logger.picture(name, path, step))

    def close(self, outcome: Outcome) -> None:
        """Close the logger once all is logged; one that has failed too, for what it has."""
        if self._started:
            self._wait(lambda: self.logger.close(outcome), self._seconds[1])
        with contextlib.suppress(queue.Full):
            self._calls.put_nowait(None)
        self.check()

    def check(self) -> bool:
        """Return whether it has not failed; the first time after that it has, say so."""
        if self._error is not None and not self._told:
            self._told = True
            self._tell(
                f"warning: logger.{self.name} failed and logs no more, while the run goes on: "
                f"{type(self._error).__name__}: {first_line(self._error)}"
            )
        return self._error is None

    def _put(self, call: Callable[[], None]) -> None:
        def unless_failed() -> None:
            if self._error is None:
                self._try(call)

        if self.check():
            try:
                self._calls.put_nowait(unless_failed)
            except queue.Full:
                self._fail(TimeoutError(f"it is {self._calls.maxsize} rows and pictures behind"))

    def _wait(self, call: Callable[[], None], seconds: float) -> None:
        """Have something done, and wait for it, with what clients print kept from the progress."""
        done = threading.Event()

        def then_tell() -> None:
            self._try(call)
            done.set()

        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(queue.Full):
            self._calls.put(then_tell, timeout=seconds)
            done.wait(seconds)
        if not done.is_set():
            self._fail(TimeoutError(f"it took more than {seconds:g} s to start or to finish"))

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except (Exception, SystemExit) as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
