"""A sweep's runs in processes of their own, each with its share of the machine."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import jax
import pytest

from amago_jax import train
from amago_jax.reports import read_outcome
from amago_jax.runs.checkpoints import latest_step
from amago_jax.runs.interruption import Interruption
from amago_jax.runs.jobs import read_jobs
from amago_jax.runs.processes import (
    CORES,
    GIVEN,
    MEMORY,
    PLATFORMS,
    give_platforms_back,
    leave_accelerators,
    share_machine,
)
from command_line import command
from tiny_runs import LEAST

SETTINGS = [*LEAST, "epochs=2", "logger.plots=false"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):  # what processes inherit is said there
        os.environ.pop(CORES, None)
        yield


def train_and_tell(config):
    """Train, and leave in the run's folder which process did and what it was given."""
    run = train(config)
    told = {name: os.environ.get(name) for name in (CORES, MEMORY)} | {"process": os.getpid()}
    (run.directory / "told.json").write_text(json.dumps(told))
    return run


def test_the_joblib_preset_trains_several_runs_at_a_time(monkeypatch, capfd):
    monkeypatch.setattr("amago_jax.runs.processes.cores", lambda: 6)
    sweep = ["sweep=joblib", "optimizer.learning_rate=1e30,0.001", "seed=0,1"]
    command(monkeypatch, *SETTINGS, *sweep, task=train_and_tell, exit_code=1)
    jobs = read_jobs(Path("runs/sweeps/joblib"))
    assert [job.status for job in jobs] == ["failed", "failed", "complete", "complete"]
    assert [read_outcome(job.folder).status for job in jobs] == [job.status for job in jobs]
    ends = [(job.began, job.began + job.seconds) for job in jobs[:2]]
    assert max(began for began, _ in ends) < min(end for _, end in ends)
    told = [json.loads(Path(job.folder, "told.json").read_text()) for job in jobs[2:]]
    assert all((one[CORES], one[MEMORY]) == ("3", "0.375") for one in told)
    assert os.getpid() not in [one["process"] for one in told]
    shown = capfd.readouterr().out
    assert "epoch 1/2" not in shown  # lines of several runs would be mixed up
    assert "sweep of 4 runs: 2 complete, 2 failed" in shown


def train_and_ask(config):
    """Train, and have whoever started this process asked to end once there is a row."""
    rows, parent = Path(config.run_dir, "metrics.jsonl"), os.getppid()

    def ask():
        while not (rows.exists() and rows.stat().st_size):
            time.sleep(0.05)
        os.kill(parent, signal.SIGTERM)

    if config.seed == 0:
        threading.Thread(target=ask, daemon=True).start()
    return train(config)


def test_who_asks_a_sweep_to_end_asks_its_runs(monkeypatch, capfd, tmp_path):
    # Processes of the test before, which have started JAX, serve again, in a folder of theirs.
    places = [f"hydra.sweep.dir={tmp_path}/sweep", f"run_dir={tmp_path}/seed${{seed}}"]
    sweep = ["sweep=joblib", "seed=0,1,2,3", *places, "logger.plots=false"]
    monkeypatch.setattr("amago_jax.runs.processes.cores", lambda: 6)
    command(monkeypatch, *LEAST, *sweep, "epochs=100000", task=train_and_ask, exit_code=75)
    jobs = read_jobs(tmp_path / "sweep")
    assert [job.status for job in jobs] == ["interrupted"] * 4
    assert "SIGTERM: ended after epoch" in jobs[0].reason
    assert read_outcome(jobs[0].folder).status == "interrupted"
    assert latest_step(Path(jobs[0].folder, "checkpoints")) > 0
    assert "the same command goes on" in capfd.readouterr().err
    with Interruption() as interruption:  # of what this process does next
        assert interruption.asked is None


def test_the_submitit_preset_runs_under_its_local_executor(monkeypatch):
    sweep = ["sweep=submitit", "hydra/launcher=submitit_local", "seed=0,1"]
    command(monkeypatch, *SETTINGS, *sweep)
    folder = Path("runs/sweeps/submitit")
    assert [job.status for job in read_jobs(folder)] == ["complete", "complete"]
    logs = [path.read_text() for path in folder.glob(".submitit/*/*_log.out")]
    assert len(logs) == 2
    assert all("epoch 1/2" in log for log in logs)


def test_each_process_gets_its_share_unless_the_user_says():
    with mock.patch("amago_jax.runs.processes.cores", return_value=3):
        share_machine(1)
        assert CORES not in os.environ
        os.environ[MEMORY] = "0.1"
        share_machine(8)
    assert (os.environ[CORES], os.environ[MEMORY]) == ("1", "0.1")


@pytest.mark.parametrize("given", [None, "cuda,cpu"])
def test_the_parent_of_other_processes_holds_no_accelerator(given, monkeypatch):
    os.environ.pop(PLATFORMS, None)
    if given is not None:
        os.environ[PLATFORMS] = given
    started = []
    monkeypatch.setattr(os, "execv", lambda *command: started.append(command))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "train.py", "sweep=joblib"])
    leave_accelerators()
    assert started == []  # on a processor there is nothing to leave
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    leave_accelerators()
    assert started == [(sys.executable, [sys.executable, "-X", "dev", "train.py", "sweep=joblib"])]
    assert os.environ[PLATFORMS] == "cpu"
    # Started anew, it gives its own processes what it was given itself.
    assert give_platforms_back()
    assert os.environ.get(PLATFORMS) == given
    assert GIVEN not in os.environ
    assert not give_platforms_back()


def test_what_only_a_clusters_devices_can_grant_is_not_asked_of_those_here(monkeypatch, capsys):
    begun = []
    wrong = ["devices=7", "seed=0,1"]
    monkeypatch.setattr("amago_jax.runs.cli._run_sweep", lambda *_: begun.append(True))
    command(monkeypatch, *SETTINGS, "sweep=submitit", *wrong)
    assert begun == [True]
    command(monkeypatch, *SETTINGS, "-m", *wrong, exit_code=1)
    assert "devices=7, but this machine shows" in capsys.readouterr().err
