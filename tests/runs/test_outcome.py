"""What a run leaves about its end, and what a later one makes of that."""

import glob
import math

import pytest
from omegaconf import OmegaConf, open_dict

from amago_jax import compose, train
from amago_jax.errors import ConfigError, TrainingError
from amago_jax.reports import Outcome, read_outcome
from amago_jax.reports.row_store import RowStore
from amago_jax.runs.building import build
from amago_jax.runs.directories import save_settings
from amago_jax.runs.outcome import (
    check_metric,
    in_use,
    make_way,
    recorded,
    standing,
    sweep_metric,
    write_outcome,
)
from tiny_runs import LEAST

SETTINGS = [*LEAST, "epochs=2", "logger.console=false", "logger.plots=false"]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The folder and the settings of a complete run."""
    folder = tmp_path_factory.mktemp("run") / "seed0"
    config = compose([*SETTINGS, f"run_dir={folder}"])
    return folder, config, train(config)


def test_a_complete_run_says_so_and_its_number(complete):
    folder, _, run = complete
    last = run.rows[-1]["evaluation/return"]
    assert read_outcome(folder) == Outcome("complete", None, last)


def test_a_run_that_fails_says_why(tmp_path):
    config = compose([*SETTINGS, f"run_dir={tmp_path}", "optimizer.learning_rate=1e30"])
    with pytest.raises(TrainingError):
        train(config)
    outcome = read_outcome(tmp_path)
    assert outcome.status == "failed"
    assert "the loss became" in outcome.reason
    assert "try a smaller" in outcome.reason


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (SystemExit(3), "interrupted", "SystemExit: 3"),
        (ZeroDivisionError("x\ny"), "failed", "ZeroDivisionError: x"),
        (ConfigError("wrong"), "failed", "wrong"),
    ],
)
def test_how_a_run_is_ended_is_told_apart(error, status, reason, tmp_path):
    class Run:
        directory = tmp_path

    def fail():
        with recorded(Run()):
            assert read_outcome(tmp_path) is None
            raise error

    with pytest.raises(type(error)):
        fail()
    assert read_outcome(tmp_path) == Outcome(status, reason)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with in_use(tmp_path):
        with pytest.raises(ConfigError, match="another process trains there"), in_use(tmp_path):
            pass
        (tmp_path / "metrics.jsonl").touch()
        with pytest.raises(ConfigError, match="another process trains there"):
            make_way(tmp_path)
    with in_use(tmp_path):
        pass


def test_a_complete_run_is_known_by_its_settings(complete):
    folder, config, _ = complete
    assert standing(folder, config).status == "complete"
    # What only says where things go, or how often they are said, makes no other run.
    same = compose([*SETTINGS, "label=x", "sweep.average=3", "logger.console=true"])
    assert standing(folder, same).status == "complete"
    assert standing(folder.parent / "other", config) is None
    other = compose([*SETTINGS, "agent.tau=0.5"])
    with pytest.raises(ConfigError, match=rf"{folder} holds .* agent\.tau=.*, not 0\.5; choose"):
        standing(folder, other)


def test_a_run_from_before_a_setting_did_what_was_done_then(tmp_path):
    mamba = [*SETTINGS, "trajectory_encoder=mamba"]
    config = compose(mamba)
    with open_dict(config):
        del config.replay.starts, config.trajectory_encoder.inner_norms
    save_settings(config, tmp_path / "config.yaml")
    write_outcome(tmp_path, Outcome("complete"))
    then = ["replay.starts=inside", "trajectory_encoder.inner_norms=false"]
    assert standing(tmp_path, compose([*mamba, *then])).status == "complete"
    for name, was, now in [("starts", "inside", "across"), ("inner_norms", "False", "True")]:
        others = [one for one in then if name not in one]
        with pytest.raises(ConfigError, match=rf"{name}={was}, not {now}; choose"):
            standing(tmp_path, compose([*mamba, *others]))


def test_a_run_that_came_to_no_end_goes_aside(tmp_path):
    folder = tmp_path / "seed0"
    folder.mkdir()
    assert make_way(folder) is None
    for number in (1, 2):
        folder.mkdir(exist_ok=True)
        (folder / "metrics.jsonl").write_text(str(number))
        aside = make_way(folder)
        assert not folder.exists()
        assert (aside / "metrics.jsonl").read_text() == str(number)
    # Patterns that name runs pass it over.
    assert glob.glob(f"{tmp_path}/*") == []
    assert len(list(tmp_path.iterdir())) == 2


def test_the_number_of_a_run_is_the_mean_of_its_last(complete):
    rows = [{"a": 1.0}, {"b": 5.0}, {"a": 2.0}, {"a": 4.0}]

    def settings(metric, average):
        return OmegaConf.create({"sweep": {"metric": metric, "average": average}})

    def number(metric, average):
        return sweep_metric(RowStore(rows), settings(metric, average))

    assert [number("a", average) for average in (1, 2, 3, 9)] == [4.0, 3.0, 7 / 3, 7 / 3]
    assert number("b", 2) == 5.0
    assert number("c", 1) is None  # it passed the check, but no episode ever ended, for instance
    assert sweep_metric(RowStore([{"a": math.inf}]), settings("a", 1)) is None
    # Runs from before there were sweeps.
    assert sweep_metric(RowStore(rows), OmegaConf.create()) is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweep.metric=train/not_finite", "is no metric of a run"),
        ("sweep.metric=evaluation/retrun", "did you mean evaluation/return"),
        ("sweep.metric=loss/totl", "did you mean loss/total"),
        ("sweep.average=0", r"sweep\.average=0 must be a whole number"),
    ],
)
def test_a_metric_that_will_not_be_is_found_before_anything_compiles(override, message):
    config = compose([*SETTINGS, override])
    with pytest.raises(ConfigError, match=message):
        check_metric(config, build(config))


@pytest.mark.parametrize("metric", ["evaluation/return_min", "loss/total", "time/seconds"])
def test_a_run_has_the_metrics_that_pass_the_check(metric, complete):
    config = compose([*SETTINGS, f"sweep.metric={metric}"])
    check_metric(config, build(config))
    assert math.isfinite(sweep_metric(complete[2].rows, config))
