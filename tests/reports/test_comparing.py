"""Runs side by side."""

import json

import pytest

import amago_jax
from amago_jax import ConfigError
from amago_jax.reports.comparing import compare


def write(folder, label, returns):
    folder.mkdir(parents=True)
    rows = [
        {
            "env_steps": 10.0 * i,
            "updates": 5.0 * i,
            "time/seconds": i,
            "evaluation/return": r,
            "evaluation/success/eat": r / 2,
            "evaluation/success/make": None,
        }
        for i, r in enumerate(returns, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text(f"label: {label}\nenv: {{env_id: some/task}}\n")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "a" / "0", "one", [0.0, 1.0, 1.0, 1.0])
    write(tmp_path / "a" / "1", "one", [0.0, 0.0, 0.0, 0.3])
    write(tmp_path / "b" / "0", "null", [0.0, 0.6])
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
