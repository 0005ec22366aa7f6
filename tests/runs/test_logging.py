"""Metrics survive the way to a file and back, killed runs included, and the console stays clean."""

import io
import math
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.reports.rows import read_jsonl
from amago_jax.runs.logging import ConsoleLogger, JsonLinesLogger

ROW = {
    "epoch": 3.0,
    "epochs": 10.0,
    "env_steps": 9216.0,
    "updates": 300.0,
    "train/return": 0.25,
    "evaluation/return": 0.5,
    "loss/total": 1.5,
    "time/env_steps_per_second": 12345.0,
    "time/updates_per_second": 45.67,
    "time/eta_seconds": 3725.0,
}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
            st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=5),
        ),
        max_size=4,
    )
)
def test_rows_come_back_exactly(tmp_path_factory, rows):
    directory = tmp_path_factory.mktemp("run")
    with JsonLinesLogger(directory) as logger:
        for row in rows:
            logger.log(row)
    assert read_jsonl(directory / "metrics.jsonl") == rows


def test_not_finite_is_null_and_scalars_of_arrays_are_numbers(tmp_path):
    with JsonLinesLogger(tmp_path / "new" / "run") as logger:
        scalars: dict[str, Any] = {
            "a": np.float32(0.5),
            "b": jnp.float32(2.0),
            "c": np.float64(math.nan),
        }
        logger.log({"a": math.nan, "b": math.inf, "c": -math.inf})
        logger.log(scalars)
    text = logger.path.read_text()
    assert text.splitlines()[0] == '{"a": null, "b": null, "c": null}'
    assert read_jsonl(logger.path)[1] == {"a": 0.5, "b": 2.0, "c": None}


def test_every_line_is_on_disk_at_once_and_later_runs_append(tmp_path):
    with JsonLinesLogger(tmp_path) as logger:
        logger.log({"epoch": 1})
        assert read_jsonl(logger.path) == [{"epoch": 1}]
    with JsonLinesLogger(tmp_path) as logger:
        logger.log({"epoch": 2})
    assert read_jsonl(logger.path) == [{"epoch": 1}, {"epoch": 2}]


def test_incomplete_last_line_is_left_out_and_not_continued(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2, "loss/to')
    assert read_jsonl(path) == [{"epoch": 1}]
    with JsonLinesLogger(tmp_path) as logger:
        logger.log({"epoch": 3})
    assert read_jsonl(path) == [{"epoch": 1}, {"epoch": 3}]


@pytest.mark.parametrize("corrupt", [b'{"epoch": 2', b"", b"[1]", b'{"a": "\xff"}'])
def test_corrupt_line_is_named(tmp_path, corrupt):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 1}\n' + corrupt + b'\n{"epoch": 3}\n')
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}, line 2"):
        read_jsonl(path)


def test_plain_console_tells_the_facts_without_control_characters(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    with ConsoleLogger(file=file) as logger:
        logger.message("compiling [bold]this[/bold]")
        logger.log(ROW)
    message, line = file.getvalue().splitlines()
    assert message == "compiling [bold]this[/bold]"
    assert not CONTROL.search(file.getvalue())
    for fact in (
        "epoch 3/10",
        "evaluation 0.500",
        "return 0.250",
        "loss 1.5",
        "9,216 steps",
        "300 updates",
        "12,345 steps/s",
        "45.7 updates/s",
        "ETA 1:02:05",
    ):
        assert fact in line


def test_plain_console_shows_evaluations_and_else_a_line_every_few_seconds():
    file, clock = io.StringIO(), Clock()
    logger = ConsoleLogger(file=file, clock=clock)
    for epoch in range(1, 21):
        clock.now += 1.0
        row = {"epoch": float(epoch), "epochs": 20.0}
        logger.log(row | ({"evaluation/return": 1.0} if epoch == 8 else {}))
    logger.close()
    shown = [int(line.split("/")[0].split()[1]) for line in file.getvalue().splitlines()]
    assert shown == [1, 6, 8, 13, 18, 20]


def test_console_shows_what_is_there():
    file = io.StringIO()
    ConsoleLogger(file=file).log({"updates": 5, "loss/total": math.nan, "name": "x"})
    assert file.getvalue() == "epoch ?, loss nan, 5 updates\n"


def test_terminal_shows_a_bar_with_the_newest_evaluation(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    file = Terminal()
    with ConsoleLogger(file=file) as logger:
        logger.message("compiling")
        logger.log(ROW)
        logger.log({"epoch": 4.0, "epochs": 10.0, "train/return": 0.75})
    last = file.getvalue()[file.getvalue().rindex("epoch 4/10") :]
    assert "\x1b[" in file.getvalue()
    assert "evaluation 0.500" in last
    assert "return 0.750" in last


def test_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    with ConsoleLogger(file=file) as logger:
        logger.log(ROW)
    assert not CONTROL.search(file.getvalue())


def test_disabled_console_is_silent():
    file = io.StringIO()
    with ConsoleLogger(False, file=file) as logger:
        logger.message("text")
        logger.log(ROW)
    assert file.getvalue() == ""


def test_a_return_of_few_of_the_episodes_begun_is_said_to_be_one():
    shown = []
    for ended in (3.0, 90.0):
        file = io.StringIO()
        with ConsoleLogger(file=file) as logger:
            logger.log({**ROW, "train/episodes_ended": ended, "train/episodes_begun": ended + 24})
        shown.append(file.getvalue())
    assert "return 0.250 (3 of 27 episodes begun), loss" in shown[0]
    assert "return 0.250, loss" in shown[1]
