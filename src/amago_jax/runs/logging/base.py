"""What loggers share: rows of metrics, and closing whatever happens."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

Row = Mapping[str, float | int | str]
"""Metrics of one epoch by name, such as ``loss/total``."""


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
