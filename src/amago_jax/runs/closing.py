"""What is opened and must be closed: loggers, what saves, what listens."""

from types import TracebackType
from typing import Self


class Closing:
    """Makes a class a context manager that closes itself."""

    def close(self) -> None:
        """Finish; nothing is done after."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened."""
        self.close()
