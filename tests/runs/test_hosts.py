"""Several processes train one run: as one process does, and none goes on without the others."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import amago_jax
from amago_jax.errors import ConfigError
from amago_jax.reports.rows import read_jsonl
from amago_jax.runs.hosts import is_writer, join, tell_all
from tiny_runs import LEAST

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
UPDATES = 3  # of each epoch
SAVING = [f"updates={UPDATES}", "checkpoint.every=1", "logger.plots=false"]


def start(*overrides, devices=1):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *LEAST, *SAVING, *overrides],
        env={**os.environ, "XLA_FLAGS": flags},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The rows of one process with two devices."""
    folder = tmp_path_factory.mktemp("one")
    process = start("epochs=2", f"run_dir={folder}", devices=2)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return read_jsonl(folder / "metrics.jsonl")


def wait_for(path, process):
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


@pytest.mark.parametrize("victim", [0, 1])
def test_two_processes_train_as_one_and_end_together(expected, victim, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    others = ["epochs=1000000", "distributed.processes=2"]
    others += [f"distributed.coordinator=127.0.0.1:{port}"]
    processes = [
        start(*others, f"distributed.process={number}", f"run_dir={tmp_path / str(number)}")
        for number in range(2)
    ]
    try:
        # Written in the background, while later epochs add their rows.
        wait_for(tmp_path / "0" / "checkpoints" / str(2 * UPDATES), processes[0])
        processes[victim].kill()
        _, error = processes[1 - victim].communicate(timeout=60)
    finally:
        for process in processes:
            process.kill()
    assert processes[1 - victim].returncode not in (0, None)
    assert "another one of the run ended" in error
    for row, wanted in zip(read_jsonl(tmp_path / "0" / "metrics.jsonl"), expected, strict=False):
        names = [name for name in wanted if not name.startswith(("time/", "epochs"))]
        found = [row[name] for name in names]
        np.testing.assert_allclose(found, [wanted[name] for name in names], rtol=1e-5, atol=1e-6)
    # The first process alone has written, and what it wrote can be read.
    assert not (tmp_path / "1").exists()
    assert int(amago_jax.load_run(tmp_path / "0").learner.updates) >= 2 * UPDATES


NOTHING = {"auto": False, "coordinator": None, "processes": None, "process": None, "timeout": 100}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coordinator": "here"}, "an address and a port"),
        ({"coordinator": "here:port"}, "an address and a port"),
        ({"coordinator": "a:1"}, "how many processes there are"),
        ({"coordinator": "a:1", "processes": 2, "process": 2}, "how many processes there are"),
        ({"coordinator": "a:1", "processes": 2, "process": True}, "process=True must be a whole"),
        ({"coordinator": "a:1", "processes": 2, "process": 0, "timeout": 0}, "timeout=0"),
        ({"auto": True, "timeout": "x"}, "timeout='x'"),
    ],
)
def test_what_cannot_join_says_what_is_missing(settings, message):
    with pytest.raises(ConfigError, match=message):
        join(NOTHING | settings)


def test_a_process_alone_joins_nobody():
    join(NOTHING)
    assert is_writer()
    assert tell_all("text") == "text"
