"""Runs that are killed at random moments, and go on each time, end as if nothing had happened."""

import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amago_jax.reports.rows import read_jsonl
from tiny_runs import LEAST

pytestmark = pytest.mark.faults

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
EPOCHS = 400
# A buffer so large that a save takes as long as an epoch, and one is always being written.
SETTINGS = [*LEAST, "replay.capacity=20000", "checkpoint.every=1", "logger.plots=false"]
SETTINGS += [f"epochs={EPOCHS}", "evaluation.every=10"]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_in(path):
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def numbers(path):
    return [
        {name: x for name, x in row.items() if not name.startswith("time/")}
        for row in read_jsonl(path)
    ]


def begin(folder, more, resumable):
    """Start the run's processes, to go on if there is anything to go on from."""
    if resumable():
        return [start(f"resume={folder}", *each) for each in more]
    shutil.rmtree(folder, ignore_errors=True)
    return [start(*SETTINGS, f"run_dir={folder}", *each) for each in more]


def disturb(rng, number, processes, metrics):
    """Send one of a run's processes a signal a few rows later; return whether it came in time."""
    target = rows_in(metrics) + rng.randint(1, 6)
    while rows_in(metrics) < target:
        if all(process.poll() is not None for process in processes):
            return False
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.3))
    rng.choice(processes).send_signal(number)
    return True


def has_checkpoint(folder):
    return any(path.name.isdigit() for path in (folder / "checkpoints").glob("*"))


def torture(folder, metrics, number, times, resumable, more=lambda: [[]]):
    """Interrupt a run so many times, then let it end; return how many amid a save."""
    rng, amid = random.Random(0), 0
    for _ in range(times):
        processes = begin(folder, more(), resumable)
        in_time = disturb(rng, number, processes, metrics)
        errors = [process.communicate(timeout=120)[1] for process in processes]
        assert in_time, "the run ended before it was interrupted often enough"
        if number == signal.SIGTERM:
            assert [process.returncode for process in processes] == [75] * len(processes), errors
        amid += any(folder.rglob("*.orbax-checkpoint-tmp*"))
    processes = begin(folder, more(), resumable)
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), errors
    return amid


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    process = start(*SETTINGS, f"run_dir={folder}")
    assert process.wait(600) == 0
    return numbers(folder / "metrics.jsonl")


@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 50), (signal.SIGTERM, 20)])
def test_a_run_interrupted_over_and_over_is_the_uninterrupted_one(number, times, whole, tmp_path):
    folder = tmp_path / "run"
    metrics = folder / "metrics.jsonl"
    amid = torture(folder, metrics, number, times, lambda: has_checkpoint(folder))
    assert numbers(metrics) == whole
    if number == signal.SIGKILL:
        assert amid >= 5
    else:
        assert amid == 0


def test_two_seeds_in_one_program(tmp_path):
    together = [*SETTINGS, "seeds=2"]
    process = start(*together, f"run_dir={tmp_path / 'whole'}")
    assert process.wait(600) == 0
    folder = tmp_path / "part"
    seeds = [folder / f"seed{seed}" for seed in range(2)]

    def more():
        return [[]] if all(map(has_checkpoint, seeds)) else [["seeds=2"]]

    torture(
        folder,
        seeds[1] / "metrics.jsonl",
        signal.SIGKILL,
        10,
        lambda: all(map(has_checkpoint, seeds)),
        more,
    )
    for seed in ("seed0", "seed1"):
        paths = [tmp_path / name / seed / "metrics.jsonl" for name in ("whole", "part")]
        assert numbers(paths[0]) == numbers(paths[1])


def test_two_processes(tmp_path):
    def together():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"distributed.coordinator=127.0.0.1:{free.getsockname()[1]}"
        return [
            ["distributed.processes=2", address, f"distributed.process={number}"]
            for number in range(2)
        ]

    processes = [start(*SETTINGS, f"run_dir={tmp_path / 'whole'}", *each) for each in together()]
    assert [process.wait(600) for process in processes] == [0, 0]
    folder = tmp_path / "part"
    metrics = folder / "metrics.jsonl"
    torture(folder, metrics, signal.SIGKILL, 10, lambda: has_checkpoint(folder), together)
    assert numbers(metrics) == numbers(tmp_path / "whole" / "metrics.jsonl")


def test_a_second_signal_ends_at_once(tmp_path):
    process = start(*SETTINGS, "updates=100000", f"run_dir={tmp_path}")
    while not (tmp_path / "config.yaml").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    time.sleep(20)  # compiling, and the first epoch begun, which would take minutes
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
    assert process.wait(10) == 128 + signal.SIGTERM
