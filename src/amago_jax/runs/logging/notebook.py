"""Progress in a notebook: one display below the cell, written anew in place."""

import sys
import time
from collections.abc import Callable
from typing import Any

SECONDS_BETWEEN_UPDATES = 0.25


def kernel_display() -> Any:
    """Return ``IPython.display`` in a notebook's kernel; None anywhere else.

    Where IPython was not imported, there is no kernel.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:
        return None
    try:
        from IPython import display
    except ImportError:
        return None
    return display


class NotebookDisplay:
    """Lines that stay, and below them one that tells how far the run is.

    Plain text, which every viewer of notebooks shows, and saved notebooks keep.
    """

    def __init__(
        self,
        display: Any,
        line_of: Callable[[dict[str, Any]], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show nothing yet.

        Args:
            display: ``IPython.display``.
            line_of: says in a line what a row holds.
            clock: seconds from any fixed moment on.
        """
        self._display, self._line_of, self._clock = display, line_of, clock
        self._lines: list[str] = []
        self._progress = ""
        self._evaluation: dict[str, Any] = {}
        self._handle: Any = None
        self._shown, self._due = -float("inf"), False

    def log(self, row: Any) -> None:
        """Show the metrics of one epoch; the newest evaluation stays in view until the next."""
        found = {name: x for name, x in row.items() if name.startswith("evaluation/")}
        self._evaluation = found or self._evaluation
        self._progress = self._line_of({**self._evaluation, **row})
        self._due = True
        if self._clock() - self._shown >= SECONDS_BETWEEN_UPDATES:
            self._show()

    def message(self, text: str) -> None:
        """Show a line at once, for what comes next may take long."""
        self._lines.append(text)
        self._show()

    def close(self) -> None:
        """Leave the last state standing."""
        if self._due:
            self._show()

    def _show(self) -> None:
        text = "\n".join([*self._lines, *([self._progress] if self._progress else [])])
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display.display(content, raw=True, display_id=True)
        else:
            self._display.update_display(content, raw=True, display_id=self._handle.display_id)
        self._shown, self._due = self._clock(), False
