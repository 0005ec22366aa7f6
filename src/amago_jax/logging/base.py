"""What a logger is, and how several act as one."""

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

Row = Mapping[str, float | int | str]
"""Metrics of one epoch by name, such as ``loss/total``."""


class Logger(Protocol):
    """Takes one row of metrics per epoch."""

    def log(self, row: Row) -> None:
        """Take the metrics of one epoch."""

    def close(self) -> None:
        """Finish; nothing is logged after."""


class ClosingLogger:
    """Makes a logger a context manager that closes itself."""

    def close(self) -> None:
        """Finish; nothing is logged after."""

    def __enter__(self) -> Self:
        """Return the logger itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened."""
        self.close()


class MultiLogger(ClosingLogger):
    """Forwards everything to several loggers, in order."""

    def __init__(self, *loggers: Logger) -> None:
        """Take over the loggers, and with them the duty to close them."""
        self._loggers = loggers

    def log(self, row: Row) -> None:
        """Forward one row to every logger."""
        for logger in self._loggers:
            logger.log(row)

    def close(self) -> None:
        """Close every logger, even if closing one of them fails."""
        with contextlib.ExitStack() as stack:
            for logger in reversed(self._loggers):
                stack.callback(logger.close)
