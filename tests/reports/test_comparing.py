"""Runs side by side."""

import json

import pytest

import amago_jax
from amago_jax import ConfigError
from amago_jax.reports import comparing
from amago_jax.reports.comparing import compare
from run_folders import write_run


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "a" / "0", [0.0, 1.0, 1.0, 1.0], label="one", seed=0)
    write_run(tmp_path / "a" / "1", [0.0, 0.0, 0.0, 0.3], label="one", seed=1)
    write_run(tmp_path / "b" / "0", [0.0, 0.6], label=None)
    return tmp_path


def run(*overrides):
    return compare(amago_jax.compose(overrides, "plot"))


def test_patterns_find_runs_labels_group_them(folder, capsys):
    picture = run(f"runs=['{folder}/*/*']", f"output={folder}/all.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "| one | 1.00, 0.10 | 0.55 | 20 | 4 |" in printed
    assert "| some/task | 0.30 | 0.30 | 10 | 2 |" in printed
    assert "drew 3 runs" in printed


def test_labels_can_be_given(folder, capsys):
    labels = "labels=[x,x]"
    run(f"runs=[{folder}/a/0,{folder}/b/0]", labels, f"output={folder}/all.png")
    assert "| x | 1.00, 0.30 | 0.65 | 10 to 20 | 2 to 4 |" in capsys.readouterr().out


def test_settings_are_not_averaged_as_if_they_were_seeds(tmp_path, capsys):
    for rate, value in ((0.1, 1.0), (0.01, 0.0)):
        for seed in (0, 1):
            folder = tmp_path / f"{rate}_{seed}"
            write_run(folder, [value], optimizer={"learning_rate": rate}, seed=seed)
    run(f"runs={tmp_path}", f"output={tmp_path}/all.png")
    printed = capsys.readouterr().out
    assert "| optimizer.learning_rate=0.1 | 1.00, 1.00 | 1.00 | 5 | 1 |" in printed
    assert "| optimizer.learning_rate=0.01 | 0.00, 0.00 | 0.00 | 5 | 1 |" in printed


def test_runs_that_say_nothing_are_named_and_passed_over(folder, capsys):
    write_run(folder / "c" / "0", [], label="empty")
    why = {"status": "failed", "reason": "the loss became nan"}
    write_run(folder / "c" / "1", [9.0], label="one", outcome=why)
    run(f"runs=['{folder}/*/*']", f"output={folder}/all.png")
    printed = capsys.readouterr().out
    assert f"passed over: {folder}/c/0: unfinished, without a row yet" in printed
    assert f"passed over: {folder}/c/1: failed: the loss became nan" in printed
    assert "| one | 1.00, 0.10 | 0.55 | 20 | 4 |" in printed
    assert "drew 3 runs" in printed
    with pytest.raises(ConfigError, match=r"runs=.*: none of the 2 has logged anything"):
        run(f"runs=['{folder}/c/*']", f"output={folder}/all.png")


def test_a_run_that_stopped_early_is_not_left_out_of_the_mean(tmp_path, monkeypatch):
    stop = {"return": 1.0, "evaluations": 1}
    write_run(tmp_path / "0", [1.0], epochs=4, stop=stop, seed=0)
    write_run(tmp_path / "1", [0.0] * 4, stop=stop, seed=1)
    given = {}
    monkeypatch.setattr(comparing, "plot_comparison", lambda *_, **kept: given.update(kept))
    run(f"runs=[{tmp_path}]", f"output={tmp_path}/all.png")
    assert given["ended"] == {"some/task": [True, True]}


def test_without_a_configuration_a_run_needs_a_label(folder, capsys):
    (folder / "b" / "0" / "config.yaml").unlink()
    run(f"runs=[{folder}/b/0]", "labels=[x]", f"output={folder}/all.png")
    assert "| x | 0.30 | 0.30 | 10 | 2 |" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="none of the 1 has logged anything"):
        run(f"runs=[{folder}/b/0]", f"output={folder}/all.png")
    assert "b/0: complete: it has no config.yaml" in capsys.readouterr().out


def test_several_metrics_are_told_apart(folder, capsys):
    run(f"runs=['{folder}/*/*']", "y='evaluation/success/*'", f"output={folder}/all.png")
    printed = capsys.readouterr().out
    assert "| one eat | 0.50, 0.05 | 0.28 | 20 | 4 |" in printed
    assert "| some/task make | nan | nan | 10 | 2 |" in printed
    run(f"runs=['{folder}/*/*']", "y='evaluation/*/eat'", f"output={folder}/all.png")
    assert "| one | 0.50, 0.05 | 0.28 | 20 | 4 |" in capsys.readouterr().out


def test_a_metric_that_is_not_logged_is_named(folder):
    with pytest.raises(ConfigError, match=r"y='success' fits nothing .* evaluation/return, "):
        run(f"runs=[{folder}/a/0]", "y=success")


def test_what_is_no_run_is_named(folder):
    with pytest.raises(ConfigError, match="/nowhere holds no run"):
        run("runs=[/nowhere]")
    with pytest.raises(ConfigError, match=r"labels=.* must be as many as the 1 runs"):
        run(f"runs=[{folder}/a/0]", "labels=[a,b]")


def test_adaptation_is_compared_by_attempt(folder, capsys):
    rows = [
        {
            "env_steps": i,
            "evaluation/success/attempt_1": 0.25,
            "evaluation/success/attempt_2": i / 4,
            "evaluation/return/attempt_1": 1.0,
            "evaluation/return/attempt_2": 2.0 * i,
        }
        for i in (1, 4)
    ]
    for run_folder in ("a/0", "a/1"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / run_folder / "metrics.jsonl").write_text(lines)
    asked = ["adaptation=true", f"output={folder}/all.png"]
    picture = run(f"runs=['{folder}/a/*']", *asked)
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "| success in attempt | 1 | 2 |" in printed
    assert "| one, at first | 0.25 | 0.25 |" in printed
    assert "| one, at last | 0.25 | 1.00 |" in printed
    with pytest.raises(ConfigError, match=r"adaptation=true: some/task logs nothing by attempt"):
        run(f"runs=['{folder}/*/*']", *asked)
