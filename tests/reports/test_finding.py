"""Runs are found whatever started them, and what became of each is said."""

import pytest

from amago_jax.reports.finding import find_runs
from run_folders import write_run

STOP = {"return": 1.0, "evaluations": 2}


def found(*folders):
    return [run.folder for run in find_runs(folders)]


def test_runs_lie_anywhere_below_in_the_order_of_their_numbers(tmp_path):
    plain = write_run(tmp_path / "a" / "lr=0.1,tau=2" / "seed2", [1.0], seed=2)
    tenth = write_run(tmp_path / "a" / "lr=0.1,tau=2" / "seed10", [1.0], seed=10)
    deep = write_run(tmp_path / "b" / "2026-11-27" / "12-00-00" / "0", [1.0])
    # What launchers and runs leave besides.
    write_run(deep / ".hydra", [])
    write_run(deep / "checkpoints" / "5", [])
    (tmp_path / "b" / "multirun.yaml").write_text("hydra: {}\n")
    (tmp_path / "b" / ".submitit").mkdir()
    assert found(tmp_path) == [plain, tenth, deep]
    assert found(plain) == [plain]
    assert found(tmp_path / "a", tmp_path) == [plain, tenth, deep]
    assert found(tmp_path / "nowhere") == []


def test_the_folder_of_several_seeds_is_no_run_of_its_own(tmp_path):
    parent = write_run(tmp_path / "run", [])
    (parent / "metrics.jsonl").unlink()
    assert found(tmp_path) == [parent]  # not begun
    seeds = [write_run(parent / f"seed{seed}", [1.0], seed=seed) for seed in range(2)]
    assert found(tmp_path) == seeds


def test_settings_are_read_by_dotted_name(tmp_path):
    write_run(tmp_path, [0.5], agent={"tau": 0.1, "gammas": [0.9]}, seed=3)
    (run,) = find_runs([tmp_path])
    assert (run.config["agent.tau"], run.config["agent.gammas"], run.seed) == (0.1, [0.9], 3)
    assert run.rows[0]["evaluation/return"] == 0.5


@pytest.mark.parametrize(
    ("returns", "given", "status", "trouble"),
    [
        ([0.0, 0.0], {}, "complete", "complete"),
        ([0.0], {"epochs": 2}, "unfinished", "unfinished"),
        ([], {}, "unfinished", "unfinished, without a row yet"),
        ([0.0, 1.0, 1.0], {"epochs": 9, "stop": STOP}, "complete", "complete"),
        ([1.0, 0.9, 1.0], {"epochs": 9, "stop": STOP}, "unfinished", "unfinished"),
        ([1.0, 1.0], {"epochs": 9, "stop": {"return": None}}, "unfinished", "unfinished"),
        ([1.0], {"outcome": {"status": "failed", "reason": "why"}}, "failed", "failed: why"),
        ([1.0], {"outcome": {"status": "interrupted"}}, "interrupted", "interrupted"),
        ([1.0], {"epochs": 9, "outcome": {"status": "complete"}}, "complete", "complete"),
    ],
)
def test_what_became_of_a_run(tmp_path, returns, given, status, trouble):
    write_run(tmp_path, returns, **given)
    (run,) = find_runs([tmp_path])
    assert (run.status, run.trouble, run.ended) == (status, trouble, status == "complete")
    assert run.silent == (not returns or status == "failed")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("config.yaml", "a: [", "config.yaml: while parsing"),
        ("config.yaml", "- 1\n", "config.yaml: not settings by name"),
        ("config.yaml", "a: ${b}\n", "config.yaml: Interpolation key 'b' not found"),
        ("metrics.jsonl", "{}\nnot a row\n", "metrics.jsonl, line 2: not a JSON object"),
        ("outcome.json", '{"status": "fine"}', "outcome.json: status='fine'"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, text, why):
    write_run(tmp_path / "good", [1.0])
    (write_run(tmp_path / "bad", [1.0]) / name).write_text(text)
    bad, good = find_runs([tmp_path])
    assert (good.status, bad.status, bad.silent) == ("complete", "unreadable", True)
    assert why in bad.trouble


def test_a_run_without_a_configuration_says_so(tmp_path):
    (write_run(tmp_path, [1.0]) / "config.yaml").unlink()
    (run,) = find_runs([tmp_path])
    assert (run.config, run.trouble) == ({}, "complete: it has no config.yaml")
