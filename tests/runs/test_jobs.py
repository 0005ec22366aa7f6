"""A sweep's runs: one that fails is written down, the others go on, and what is done stays done."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from amago_jax.reports import read_outcome
from amago_jax.runs.jobs import read_jobs, summarize
from amago_jax.runs.logging import JsonLinesLogger
from command_line import command
from tiny_runs import LEAST

SETTINGS = [*LEAST, "epochs=2", "logger.plots=false", "logger.console=false"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def jobs(name):
    return read_jobs(Path("runs/sweeps", name))


def metrics(folder):
    return Path(folder, "metrics.jsonl").read_text()


def test_the_run_after_a_failing_one_starts_and_a_second_call_goes_on(monkeypatch, capsys):
    rates = "optimizer.learning_rate=1e30,0.001"
    sweep = ["-m", *SETTINGS, rates, "seed=0,1", "sweep.name=mine"]
    command(monkeypatch, *sweep, exit_code=1)
    first = jobs("mine")
    assert [job.status for job in first] == ["failed", "failed", "complete", "complete"]
    names = [job.name for job in first]
    assert names[0].split() == ["optimizer.learning_rate=1e+30", "seed=0"]
    assert "the loss became" in first[0].reason
    assert all(isinstance(job.metric, float) for job in first[2:])
    assert [read_outcome(job.folder).status for job in first] == [job.status for job in first]
    summary = capsys.readouterr().out.strip().splitlines()[-3:]
    assert summary[0].startswith("sweep of 4 runs: 2 complete, 2 failed")
    assert all(line.startswith("failed: optimizer.learning_rate=1e+30") for line in summary[1:])

    # What failed, or was killed before it saved, begins anew; what it left goes aside. What is
    # complete is not touched.
    killed, kept = Path(first[2].folder), Path(first[3].folder)
    (killed / "outcome.json").unlink()
    shutil.rmtree(killed / "checkpoints")
    (kept / "metrics.jsonl").write_text("untouched")
    before = metrics(killed)
    sweep[sweep.index(rates)] = "optimizer.learning_rate=0.001"
    sweep.append(f"run_dir={kept.parent}/seed${{seed}}")
    command(monkeypatch, *sweep)
    second = jobs("mine")
    assert [job.status for job in second] == ["complete", "skipped"]
    assert second[1].metric == first[3].metric
    assert metrics(kept) == "untouched"
    assert metrics(killed.with_name(".seed0.unfinished1")) == before
    assert "seed=1: skipped, for it is complete in" in capsys.readouterr().out

    # What was killed after it saved goes on.
    (killed / "outcome.json").unlink()
    before = metrics(killed)
    command(monkeypatch, *sweep)
    assert [job.status for job in jobs("mine")] == ["complete", "skipped"]
    assert metrics(killed) == before
    assert not killed.with_name(".seed0.unfinished2").exists()

    # Other settings would be another run.
    command(monkeypatch, *sweep, "agent.tau=0.5", exit_code=1)
    assert "holds a complete run with agent.tau=" in capsys.readouterr().err


def test_a_signal_ends_the_whole_sweep_which_goes_on_when_called_again(monkeypatch, capsys):
    log, asked = JsonLinesLogger.log, []

    def asking(logger, row):
        log(logger, row)
        if not asked:
            asked.append(row)
            signal.raise_signal(signal.SIGTERM)

    sweep = ["-m", *SETTINGS, "seed=0,1,2", "sweep.name=mine"]
    with monkeypatch.context() as patched:
        patched.setattr(JsonLinesLogger, "log", asking)
        command(monkeypatch, *sweep, exit_code=75)
    assert [job.status for job in jobs("mine")] == ["interrupted"]
    shown = capsys.readouterr()
    assert "sweep of 1 runs: 1 interrupted" in shown.out
    assert "the same command goes on" in shown.err
    command(monkeypatch, *sweep)
    assert [job.status for job in jobs("mine")] == ["complete"] * 3
    rows = [json.loads(line) for line in metrics(jobs("mine")[0].folder).splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]


def test_a_fault_of_the_programs_is_shown_and_the_others_go_on(monkeypatch, capsys):
    def task(config):
        if config.seed == 0:
            raise ZeroDivisionError("a fault")

    command(
        monkeypatch,
        "-m",
        "seed=0,1",
        "sweep.name=x",
        task=task,
        config_name="estimate",
        exit_code=1,
    )
    assert [job.status for job in jobs("x")] == ["failed", "complete"]
    shown = capsys.readouterr()
    assert "Traceback" in shown.err
    assert "failed: seed=0: ZeroDivisionError: a fault" in shown.out


def test_a_run_that_fails_before_it_has_a_folder_is_recorded_in_it(monkeypatch):
    # What the check before the first run cannot find.
    def task(config):
        raise ValueError("no such device")

    command(monkeypatch, "-m", *SETTINGS, "seed=0,1", "sweep.name=x", task=task, exit_code=1)
    for job in jobs("x"):
        assert read_outcome(job.folder).reason == "ValueError: no such device"


def test_who_interrupts_a_sweep_is_told_how_far_it_came(monkeypatch, capsys):
    def task(config):
        if config.seed == 1:
            raise KeyboardInterrupt

    command(monkeypatch, "-m", "seed=0,1,2", task=task, config_name="estimate", exit_code=130)
    assert "sweep of 1 runs: 1 complete" in capsys.readouterr().out


def test_what_ends_a_whole_sweep_is_shown_behind_a_summary(monkeypatch, capsys):
    def write(path, content):
        raise OSError("no space left")

    monkeypatch.setattr("amago_jax.runs.jobs.write_json", write)
    with pytest.raises(OSError, match="no space left"):
        command(monkeypatch, "-m", "seed=0,1", task=str, config_name="estimate")
    assert "sweep of 0 runs: none ended" in capsys.readouterr().out


def test_a_search_in_which_all_fail_ends_in_a_summary(monkeypatch, capsys):
    def task(config):
        raise ValueError("nothing works")

    search = ["sweep=optuna", "hydra.sweeper.n_trials=2"]
    command(monkeypatch, *SETTINGS, *search, task=task, exit_code=1)
    shown = capsys.readouterr()
    assert "sweep of 2 runs: 2 failed" in shown.out
    assert "No trials are completed" not in shown.err


def test_a_search_finds_a_better_learning_rate_than_its_worst(monkeypatch, capsys):
    search = ["sweep=optuna", "optimizer.learning_rate=tag(log,interval(1e-6,1e-1))"]
    sizes = ["hydra.sweeper.n_trials=6", "sweep.average=1", "epochs=15", "updates=20"]
    sizes += ["evaluation.every=15", "evaluation.episodes=16", "batch_size=8", "envs=8"]
    command(monkeypatch, *SETTINGS, *search, *sizes)
    found = jobs("optuna")
    assert [job.status for job in found] == ["complete"] * 6
    numbers = [job.metric for job in found]
    assert max(numbers) > min(numbers) + 0.5
    best = capsys.readouterr().out.strip().splitlines()[-1]
    assert best.startswith(f"best: {found[numbers.index(max(numbers))].name}")
    assert best.endswith(f": {max(numbers)}")

    # Called again for more, it knows what is complete.
    sizes[0] = "hydra.sweeper.n_trials=7"
    command(monkeypatch, *SETTINGS, *search, *sizes)
    again = jobs("optuna")
    assert [job.status for job in again] == ["skipped"] * 6 + ["complete"]
    assert [job.metric for job in again[:6]] == numbers


def test_the_summary_is_in_the_order_of_the_runs(tmp_path):
    (tmp_path / "jobs").mkdir()
    for number in (10, 9, 2):
        text = json.dumps({"name": f"seed={number}", "status": "failed", "reason": "why"})
        (tmp_path / "jobs" / f"{number}.json").write_text(text)
    lines = summarize(read_jobs(tmp_path), tmp_path).splitlines()
    assert lines[0] == f"sweep of 3 runs: 3 failed ({tmp_path})"
    assert lines[1:] == [f"failed: seed={number}: why" for number in (2, 9, 10)]
    assert summarize([], tmp_path) == f"sweep of 0 runs: none ended ({tmp_path})"
