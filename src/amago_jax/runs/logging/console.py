"""Progress: a live bar on a terminal, one display in a notebook, plain lines anywhere else."""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from amago_jax.runs.closing import Closing
from amago_jax.runs.logging.base import Row
from amago_jax.runs.logging.notebook import NotebookDisplay, kernel_display

SECONDS_BETWEEN_LINES = 5.0


class ConsoleLogger(Closing):
    """Shows how far a run is and how it does."""

    def __init__(
        self,
        enabled: bool = True,
        *,
        file: TextIO | None = None,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Choose the display: live if the file is a terminal, else lines without control codes.

        In a notebook's kernel, unless a file is given, it is the notebook's.

        Args:
            enabled: False: show nothing at all.
            file: where to write; None: standard output.
            seconds_between_lines: without a terminal, rows that hold no evaluation are shown at
                most this often.
            clock: seconds from any fixed moment on.
        """
        output = sys.stdout if file is None else file
        self._display: _LiveDisplay | _PlainDisplay | NotebookDisplay | None = None
        notebook = kernel_display() if enabled and file is None else None
        if notebook is not None:
            self._display = NotebookDisplay(notebook, _line)
        elif enabled and _is_terminal(output):
            self._display = _LiveDisplay(output)
        elif enabled:
            self._display = _PlainDisplay(output, seconds_between_lines, clock)

    def log(self, row: Row) -> None:
        """Show the metrics of one epoch."""
        if self._display is not None:
            self._display.log(row)

    def message(self, text: str) -> None:
        """Show a line of text."""
        if self._display is not None:
            self._display.message(text)

    def close(self) -> None:
        """Leave the last state standing and give the terminal back."""
        if self._display is not None:
            self._display.close()


class _PlainDisplay:
    """One line per evaluation, and between evaluations one every few seconds."""

    def __init__(self, file: TextIO, seconds: float, clock: Callable[[], float]) -> None:
        self._file, self._seconds, self._clock = file, seconds, clock
        self._shown = -float("inf")

    def log(self, row: Row) -> None:
        now = self._clock()
        last = row.get("epoch") is not None and row.get("epoch") == row.get("epochs")
        if last or "evaluation/return" in row or now - self._shown >= self._seconds:
            self._shown = now
            self.message(_line(row))

    def message(self, text: str) -> None:
        print(text, file=self._file, flush=True)

    def close(self) -> None:
        pass


class _LiveDisplay:
    """A bar that is redrawn; the newest evaluation stays in view until the next."""

    def __init__(self, file: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[facts]}", markup=False),
            console=Console(file=file),
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._evaluation: dict[str, float | int | str] = {}

    def log(self, row: Row) -> None:
        if self._task is None:
            # Not before the first epoch: until then there is nothing to count.
            self._progress.start()
            self._task = self._progress.add_task("", total=None, facts="")
        self._evaluation |= {
            name: value for name, value in row.items() if name.startswith("evaluation/")
        }
        self._progress.update(
            self._task,
            total=_number(row.get("epochs")),
            completed=_number(row.get("epoch")) or 0.0,
            description=_epoch(row),
            facts=", ".join(_facts({**self._evaluation, **row})),
        )

    def message(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def _is_terminal(file: TextIO) -> bool:
    # Not rich's own judgement: variables such as FORCE_COLOR would put control codes into pipes.
    return file.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _line(row: Row) -> str:
    return ", ".join([_epoch(row), *_facts(row)])


def _epoch(row: Row) -> str:
    epoch, epochs = _number(row.get("epoch")), _number(row.get("epochs"))
    if epoch is None:
        return "epoch ?"
    return f"epoch {epoch:.0f}" + ("" if epochs is None else f"/{epochs:.0f}")


def _facts(row: Row) -> list[str]:
    """What is worth a glance, in words, as far as the row holds it."""
    formats: dict[str, Callable[[float], str]] = {
        "runs": lambda value: f"mean of {value:.0f} runs",
        "evaluation/return": lambda value: f"evaluation {value:,.3f}",
        "runs/least_return": lambda value: f"least {value:,.3f}",
        "runs/greatest_return": lambda value: f"greatest {value:,.3f}",
        "evaluation/success": lambda value: f"success {value:.2f}",
        "train/return": lambda value: f"return {value:,.3f}{_early(row)}",
        "loss/total": lambda value: f"loss {value:.4g}",
        "env_steps": lambda value: f"{value:,.0f} steps",
        "updates": lambda value: f"{value:,.0f} updates",
        "time/env_steps_per_second": lambda value: f"{_rate(value)} steps/s",
        "time/updates_per_second": lambda value: f"{_rate(value)} updates/s",
        "time/eta_seconds": lambda value: f"ETA {_duration(value)}",
    }
    numbers = {name: _number(row.get(name)) for name in formats}
    return [formats[name](number) for name, number in numbers.items() if number is not None]


def _early(row: Row) -> str:
    """Say of how few of the episodes begun a return is, as long as most go on."""
    ended, begun = (_number(row.get(f"train/episodes_{name}")) for name in ("ended", "begun"))
    if ended is None or not begun or ended > begun / 2:
        return ""
    return f" ({ended:,.0f} of {begun:,.0f} episodes begun)"


def _number(value: float | int | str | None) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)


def _rate(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if not 0 <= seconds < float("inf"):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
