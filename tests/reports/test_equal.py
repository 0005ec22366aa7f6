"""Runs are compared where all of a task have come to as much, and over all tasks together."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amago_jax
from amago_jax import ConfigError
from amago_jax.reports import make_report, write_report
from amago_jax.reports.equal import common_point, up_to
from amago_jax.reports.finding import FoundRun, find_runs
from amago_jax.reports.row_store import RowStore
from amago_jax.reports.statistics import Bootstrap, Estimate, interquartile_mean
from amago_jax.reports.writing import report
from run_folders import write_run

QUICK = Bootstrap(resamples=200)
RETURN = "evaluation/return"
OTHER = {"env_id": "other/task"}


def ppo(label="PPO", **config):
    """Settings as `amago-jax ppo` leaves them: those of AMAGO's own learning are not there."""
    return {"label": label, "ppo": {"clip": 0.2}, "envs": 64} | config


def amago(label="AMAGO", **config):
    replay = {"replay": {"capacity": 99}, "updates": 5}
    return {"label": label, "agent": {"tau": 0.1}, "envs": 8} | replay | config


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """In two folders: PPO takes steps of 40 an epoch, four times the seconds too, AMAGO of 10."""
    top = tmp_path_factory.mktemp("both")
    for seed in range(3):
        write_run(top / f"a/{seed}", [0.0, 0.0, 1.0, 1.0, 2.0, 9.0], seed=seed, **amago())
        write_run(top / f"p/{seed}", [0.0, 4.0, 8.0], scale=4, seed=seed, **ppo())
        # Here PPO was killed early once, and AMAGO has come to its goal after two epochs.
        write_run(top / f"a/o{seed}", [1.0, 5.0], epochs=9, seed=seed, **solved(amago()))
        write_run(top / f"p/o{seed}", [3.0, 3.0, 4.0], scale=4, seed=seed, **solved(ppo()))
    write_run(top / "p/o3", [3.0], epochs=3, scale=4, seed=3, **solved(ppo()))
    return top


def solved(config):
    return {"env": OTHER, "stop": {"return": 5.0, "evaluations": 1}} | config


@pytest.fixture(scope="module")
def made(both):
    folders = [both / "a", both / "p"]
    return make_report(folders, equal="env_steps", last=2, together=True, bootstrap=QUICK)


def records(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def means(found):
    return {
        (line["task"], line["setting"]): (line["mean"].value, line["steps"], line["seeds"])
        for line in records(found.tables["settings"])
    }


def test_two_algorithms_are_settings_of_one_task_named_by_their_labels(made):
    assert {
        (one.setting.task, one.setting.name): len(one.setting.runs) for one in made.measured
    } == {
        ("some/task", "AMAGO"): 3,
        ("some/task", "PPO"): 3,
        ("other/task", "AMAGO"): 3,
        ("other/task", "PPO"): 4,
    }


def test_runs_count_up_to_what_all_of_their_task_have_come_to(made, both):
    # AMAGO ends at 60 steps, PPO at 120 and was evaluated at 40 and 80.
    assert means(made)["some/task", "AMAGO"] == (5.5, 60, 3)
    assert means(made)["some/task", "PPO"] == (0.0, 40, 3)
    at_ends = make_report(both, last=2, bootstrap=QUICK)
    assert means(at_ends)["some/task", "PPO"] == (6.0, 120, 3)
    assert "equal" not in at_ends.tables
    in_updates = make_report(both, last=1, equal="updates", bootstrap=QUICK)
    assert means(in_updates)["some/task", "AMAGO"] == (9.0, 60, 3)
    # What is tabulated of a run is what it had come to there, its state is that at its end.
    (run,) = [line for line in records(made.tables["runs"]) if line["folder"] == f"{both}/p/0"]
    assert (run["final"], run["steps"], run["status"]) == (0.0, 40, "complete")


def test_a_run_that_stopped_at_its_goal_counts_on_and_bounds_nothing(made):
    assert means(made)["other/task", "AMAGO"] == (3.0, 20, 3)
    assert means(made)["other/task", "PPO"] == (3.5, 120, 3)
    assert made.tables["equal"].rows == [
        ["some/task", "steps", 60.0, 6, 0],
        ["other/task", "steps", 120.0, 6, 3],
    ]
    (killed,) = records(made.tables["troubles"])
    assert killed["what became of it"] == "unfinished; in curves alone"


def test_the_common_point(both, tmp_path):
    runs = find_runs([both])

    def point(x, name):
        return common_point([run for run in runs if name in str(run.folder)], x, RETURN)

    assert point("time/seconds", "both") == 6.0
    assert point("env_steps", "a/o") == 20.0  # all stopped at their goal
    assert point("env_steps", "p/o3") is None  # none is complete
    # An epoch without an evaluation takes a run no further.
    write_run(tmp_path, [1.0, 2.0, None], epochs=3)
    assert common_point(find_runs([tmp_path]), "env_steps", RETURN) == 20.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "env_steps": st.sampled_from([10.0, 20.0, 30.0]),
                RETURN: st.sampled_from([1.0, math.nan]),
            },
        ),
        max_size=12,
    ),
    st.sampled_from([0, 10, 25, 30]),
)
def test_a_run_as_it_was_at_a_point_ends_with_its_last_evaluation(rows, at):
    def counts(row):
        return row.get("env_steps", math.inf) <= at and math.isfinite(row.get(RETURN, math.nan))

    rows = [{"epoch": float(number), **row} for number, row in enumerate(rows)]
    for kept in (rows, RowStore(rows)):
        found = up_to(FoundRun(Path("run"), {}, kept, "complete"), "env_steps", at, RETURN).rows
        assert [row["epoch"] for row in found] == list(range(len(found)))
        assert not found or counts(found[-1])
        assert not any(map(counts, rows[len(found) :]))


def test_epochs_without_an_evaluation_count_as_any_others(tmp_path):
    write_run(tmp_path / "a", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], every=2, label="short")
    write_run(tmp_path / "b", [float(i) for i in range(1, 13)], every=4, label="long")
    found = make_report(tmp_path, equal="env_steps", last=2, bootstrap=QUICK)
    assert means(found) == {
        ("some/task", "short"): (5.0, 60, 1),
        ("some/task", "long"): (4.0, 40, 1),
    }
    (path,) = write_report(found, tmp_path / "report", ["markdown"])
    # Neither is at its last epoch there, and neither stopped at a goal.
    assert "Compared at 60 steps, the most to which all complete runs have come" in path.read_text()


def test_the_score_is_reached_within_what_is_compared(both):
    found = make_report(both, equal="env_steps", score=4.0, bootstrap=QUICK)
    reached = {(line["task"], line["setting"]): line for line in records(found.tables["score"])}
    assert reached["some/task", "AMAGO"]["steps"] == 60
    assert (reached["some/task", "PPO"]["reached"], reached["some/task", "PPO"]["seeds"]) == (0, 3)
    assert reached["other/task", "PPO"]["steps"] == 120


def test_a_run_whose_first_evaluation_comes_later_is_named(tmp_path):
    write_run(tmp_path / "a", [1.0], label="short")
    late = write_run(tmp_path / "b", [1.0, 2.0], scale=4, label="late", envs=2)
    found = make_report(tmp_path, equal="env_steps", bootstrap=QUICK)
    assert {one.setting.name: one.finals for one in found.measured} == {"short": (1.0,), "late": ()}
    why = "complete, without a value of evaluation/return up to 10 steps; in curves alone"
    assert found.tables["troubles"].rows == [[str(late), why]]
    assert len(found.curves["some/task"]["steps"]) == 2


def test_all_tasks_together_are_one_sample_resampled_by_task(made):
    finals = {"AMAGO": [5.5] * 3 + [3.0] * 3, "PPO": [0.0] * 3 + [3.5] * 3}
    lines = records(made.tables["together"])
    assert [line["setting"] for line in lines] == ["AMAGO", "PPO"]
    for line in lines:
        values = np.array(finals[line["setting"]])
        assert (line["runs"], line["fewest"]) == (6, 3)
        # Seeds of a task are alike here: resamples that keep as many of each vary nothing.
        assert line["mean"] == Estimate(values.mean(), values.mean(), values.mean())
        assert line["interquartile mean"].value == interquartile_mean(values)


def test_the_document_says_where_runs_are_compared(made, both, tmp_path, capsys):
    given = [f"folders=[{both}/a,{both}/p]", f"output={tmp_path}", "resamples=50", "last=2"]
    given += ["equal=env_steps", "together=true", "formats=[markdown,png,csv]"]
    files = {path.name: path for path in report(amago_jax.compose(given, "report"))}
    text, printed = files["report.md"].read_text(), capsys.readouterr().out
    point = "Compared at 60 steps, the most to which all complete runs have come (6 count)."
    assert point in text
    assert f"some/task: {point}" in printed
    assert "Of these, 3 stopped before, at their goal, and count with their last values." in text
    assert "up to the steps at which the runs of its task are compared." in text
    assert "| AMAGO | 6 | 3 | 4.250 [" in text
    assert "some/task,steps,60.0,6,0" in files["equal.csv"].read_text()
    assert files["curves_1.png"].is_file()


def test_the_document_says_where_runs_are_compared_that_all_stopped_early(tmp_path):
    write_run(tmp_path / "a", [1.0, 5.0], epochs=9, **solved({"label": "soon"}))
    write_run(tmp_path / "b", [1.0, 2.0, 5.0], epochs=9, **solved({"label": "later"}))
    found = make_report(tmp_path, equal="updates", bootstrap=QUICK)
    (path,) = write_report(found, tmp_path / "report", ["markdown"])
    at = found.of_task("other/task")[0].at
    assert (
        f"Compared at {at:g} updates, where the last of them ended: all complete runs (2) stopped "
        "at their goal, and count with their last values."
    ) in path.read_text()


@pytest.mark.parametrize("count", [8, 9])
def test_a_sentence_tells_what_the_best_setting_has_if_it_can_hold_it(count, tmp_path):
    for value in (1, 2):
        own = {f"setting_{i}": value for i in range(count)}
        write_run(tmp_path / str(value), [float(value)], label=f"is{value}", **own)
    (path,) = write_report(
        make_report(tmp_path, bootstrap=QUICK), tmp_path / "report", ["markdown"]
    )
    text = path.read_text()
    assert ("is2 (setting_0=2" in text) == (count == 8)
    assert "| is2 | setting_0=2" in text


def test_settings_without_a_common_name_are_not_taken_together(tmp_path):
    write_run(tmp_path / "a", [1.0])
    write_run(tmp_path / "b", [1.0], env=OTHER)
    found = make_report(tmp_path, together=True, equal="time/seconds", bootstrap=QUICK)
    assert found.tables["together"].rows == []
    (path,) = write_report(found, tmp_path / "report", ["markdown"])
    assert "label runs, for example label=PPO" in path.read_text()
    write_run(tmp_path / "c", [], env={"env_id": "third"}, outcome={"status": "failed"})
    found = make_report(tmp_path, equal="time/seconds", bootstrap=QUICK)
    (path,) = write_report(found, tmp_path / "report", ["markdown"])
    assert "No complete run tells its seconds, so that there is no point" in path.read_text()


def test_runs_that_do_not_tell_what_is_compared_are_left_out_and_named(tmp_path):
    first = write_run(tmp_path / "a", [1.0, 5.0], epochs=9, **solved({"label": "solved"}))
    second = write_run(tmp_path / "b", [1.0, 2.0, 3.0], **solved({"label": "plain"}))
    path = first / "metrics.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"time/seconds"', '"time/other"'))
    found = make_report(tmp_path, equal="time/seconds", bootstrap=QUICK)
    # One that stopped early was not before a point that it has none of.
    assert found.tables["equal"].rows == [["other/task", "seconds", 3.0, 1, 0]]
    why = "complete, without a value of evaluation/return up to 3.000 seconds; in curves alone"
    assert found.tables["troubles"].rows == [[str(first), why]]
    path = second / "metrics.jsonl"
    path.write_text(path.read_text().replace('"time/seconds"', '"time/other"'))
    found = make_report(tmp_path, equal="time/seconds", bootstrap=QUICK)
    assert [one.finals for one in found.measured] == [(), ()]
    why = "complete, without a value of evaluation/return with known seconds; in curves alone"
    assert found.tables["troubles"].rows == [[str(first), why], [str(second), why]]


def test_what_runs_cannot_have_come_to_is_named(both):
    with pytest.raises(ConfigError, match=r"equal='seconds': .*did you mean time/seconds"):
        make_report(both, equal="seconds")
    with pytest.raises(ConfigError, match=r"equal='step' must be"):
        report(amago_jax.compose([f"folders={both}", "equal=step"], "report"))
