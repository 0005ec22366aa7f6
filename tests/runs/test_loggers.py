"""Loggers: what each vendor is given comes back; none can end a run, or hold it up."""

import json
import os
import threading
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

import amago_jax
import vendors
from amago_jax.errors import ConfigError, InterruptionError
from amago_jax.reports.outcomes import read_outcome
from amago_jax.reports.rows import read_jsonl
from amago_jax.runs.cli import check
from amago_jax.runs.config import CONF_DIR
from amago_jax.runs.logging import JsonLinesLogger, Loggers, build_loggers
from amago_jax.runs.logging.guarded import GuardedLogger
from recorders import BROKEN, RECORDED, Recorder
from tiny_runs import LEAST

VENDORS = ["wandb", "tensorboard", "trackio", "mlflow"]
EPOCHS = 4
ROWS = [
    {
        "epoch": float(n),
        "epochs": float(EPOCHS),
        "env_steps": 48.0 * n,
        "train/return": n / 4,
        "time/seconds": n / 8,
    }
    for n in range(1, EPOCHS + 1)
]


@pytest.fixture(autouse=True)
def forgotten():
    Recorder.made.clear()


@pytest.fixture(scope="module", autouse=True)
def at_home(tmp_path_factory):
    """No client looks for anybody's account, or writes outside of the test's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to make
        yield


def config_of(*loggers):
    config = amago_jax.compose([*LEAST, *loggers])
    config.run_dir = "unused"
    return config


def run_of(config, folder, done=0):
    """What `Loggers` looks at of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    return types.SimpleNamespace(
        config=config,
        directory=folder,
        rows=ROWS[:done],
        next_epoch=done + 1,
        resumed_step=done or None,
    )


def log_all(run, loggers, rows):
    """Log as training does, the file of JSON lines last."""
    with JsonLinesLogger(run.directory, after=run.rows) as jsonl:
        for row in rows:
            run.rows = [*run.rows, row]
            jsonl.log(row)
            loggers.log(row)


def read(vendor, folder):
    if vendor == "trackio":
        return vendors.read_trackio(folder.name)
    if vendor == "mlflow":
        kept = json.loads((folder / "loggers.json").read_text())
        return vendors.read_mlflow(f"file://{folder.parent}/mlruns", kept["mlflow"]["id"])
    return getattr(vendors, f"read_{vendor}")(folder)


OUTCOMES = {"wandb": (75, 1, 0), "mlflow": ("KILLED", "FAILED", "FINISHED")}


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_a_vendor_is_given_comes_back_and_going_on_doubles_nothing(
    vendor, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    folder, told = tmp_path / f"{vendor}_run", []
    config = config_of(f"logger={vendor}")
    if vendor == "mlflow":
        config.logger.mlflow.tracking_uri = f"file://{tmp_path}/mlruns"

    def loggers_of(run):
        return Loggers(run, build_loggers(config), told.append)

    run, other = run_of(config, folder), run_of(config, tmp_path / f"{vendor}_other")
    Image.new("RGB", (4, 3), "green").save(folder / "curves.png")
    with loggers_of(run) as loggers, loggers_of(other) as others:  # runs of one process
        log_all(run, loggers, ROWS[:3])
        log_all(other, others, ROWS[:1])
        loggers.pictures()
        loggers.end(InterruptionError())
        others.end(ValueError())
    found, of_other = read(vendor, folder), read(vendor, other.directory)
    assert found.rows == ROWS[:3]
    assert of_other.rows == ROWS[:1]
    assert found.config["agent.tau"] == str(config.agent.tau)
    assert (found.pictures, of_other.pictures) == ({"curves"}, set())
    interrupted, failed, complete = OUTCOMES.get(vendor, (None, None, None))
    assert (found.outcome, of_other.outcome) == (interrupted, failed)
    # From a checkpoint of the second epoch, so that the third is trained again.
    run = run_of(config, folder, done=2)
    with loggers_of(run) as loggers:
        log_all(run, loggers, [ROWS[2] | {"time/seconds": 9.0}, ROWS[3]])
    found = read(vendor, folder)
    without_times = [[{**row, "time/seconds": 0} for row in rows] for rows in (found.rows, ROWS)]
    assert without_times[0] == without_times[1]
    assert found.outcome == complete
    assert told == []
    assert capsys.readouterr() == ("", "")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["log", "picture"]), max_size=6), st.integers(0, 9), st.booleans())
def test_a_logger_that_fails_is_told_of_once_and_called_no_more(calls, at, leaves):
    """Failing at start, at any call or at the end, by an error or by leaving the process."""
    names, told, seen = ["start", *calls, "close"], [], []
    fails = min(at, len(names))  # or not at all

    class Failing(Recorder):
        def _called(self, name, *arguments):
            seen.append(name)
            if len(seen) - 1 == fails:
                raise (SystemExit if leaves else OSError)("gone\nfor good")

    guarded = GuardedLogger("x", Failing(), told.append)
    guarded.start(None)
    for name in calls:
        guarded.log({}, 0) if name == "log" else guarded.picture("curves", None, 0)
    guarded.close("complete")
    expected = names[: fails + 1]
    if 0 < fails < len(names) - 1:
        expected.append("close")  # for what was logged before
    assert seen == expected
    assert len(told) == (fails < len(names))
    for line in told:
        assert line.startswith("warning: logger.x failed")
        assert line.endswith("gone")
    assert guarded.check() == (not told)


@pytest.mark.parametrize(
    ("at", "waiting", "word"), [("start", 9, "took"), ("log", 9, "took"), ("log", 2, "behind")]
)
def test_a_logger_that_hangs_holds_nothing_up(at, waiting, word):
    release, told = threading.Event(), []

    class Hanging(Recorder):
        def _called(self, name, *arguments):
            if name == at:
                release.wait()

    guarded = GuardedLogger("x", Hanging(), told.append, waiting=waiting, seconds=(0.1, 0.01))
    guarded.start(None)
    for _ in range(5):
        guarded.log({}, 0)
    guarded.close("complete")
    release.set()
    (line,) = told
    assert word in line


def test_rows_that_come_out_otherwise_are_logged_again(tmp_path):
    """So they are where a logger had failed, or was not there; what it is known by is kept."""
    config, told = config_of(RECORDED, *BROKEN), []
    run = run_of(config, tmp_path)
    with Loggers(run, build_loggers(config), told.append) as loggers:
        log_all(run, loggers, ROWS[:3])
    assert "logger.broken failed" in told[0]
    kept = json.loads((tmp_path / "loggers.json").read_text())
    assert kept == {
        "mine": {"id": "7", "has_all_rows": True},
        "broken": {"id": "7", "has_all_rows": False},
    }
    config.logger.broken.fails = ""
    run = run_of(config, tmp_path, done=1)
    built = build_loggers(config)
    with Loggers(run, built, told.append) as loggers:
        log_all(run, loggers, [ROWS[1], ROWS[2] | {"train/return": 5.0}, ROWS[3]])
    steps = {name: [c[2] for c in one.calls if c[0] == "log"] for name, one in built.items()}
    assert steps == {"mine": [144, 192], "broken": [96, 144, 192]}
    assert built["mine"].calls[0][1].id == "7"
    assert built["mine"].calls[0][1].step == 48
    # A damaged file is as none.
    (tmp_path / "loggers.json").write_text('{"mine": 3}')
    built = build_loggers(config)
    with Loggers(run_of(config, tmp_path, done=1), built, told.append):
        pass
    assert built["mine"].calls[0][1].id is None


def test_a_run_trains_to_its_end_whatever_its_loggers_do(tmp_path, capsys):
    """Three vendors at once, a logger of one's own, and one that fails."""
    vendors_at_once = ["logger=[wandb,tensorboard,trackio]", "logger.wandb.mode=offline"]
    config = config_of("epochs=2", "checkpoint.every=1", *vendors_at_once, RECORDED, *BROKEN)
    folder = tmp_path / "seed0"
    config.run_dir = str(folder)
    amago_jax.train(config)
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.count("warning: logger.broken failed") == 1
    assert "the server is gone" in output.out
    assert "pages of thanks" not in output.out
    rows = read_jsonl(folder / "metrics.jsonl")
    mine = next(recorder for recorder in Recorder.made[::-1] if not recorder.fails)
    assert [call[0] for call in mine.calls] == ["start", *["log", "picture"] * 2, "close"]
    assert [call[1] for call in mine.calls if call[0] == "log"] == rows
    assert mine.calls[-1] == ("close", "complete")
    info = mine.calls[0][1]
    assert info.name == "/".join(folder.parts[-3:])
    assert info.config["agent"]["tau"] == config.agent.tau
    trackio = vendors.read_trackio(info.name)
    for found in (vendors.read_wandb(folder), vendors.read_tensorboard(folder), trackio):
        assert len(found.rows) == 2
        for row, logged in zip(rows, found.rows, strict=True):
            assert logged == pytest.approx(row)  # TensorBoard has float32
        assert found.pictures == {"curves"}
        assert found.config["epochs"] == "2"
    assert read_outcome(folder).status == "complete"


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["logger=default"], []),
        (["logger=[wandb,tensorboard]", "logger.wandb.project=mine"], ["tensorboard", "wandb"]),
        (["logger=trackio", RECORDED], ["mine", "trackio"]),
    ],
)
def test_loggers_are_chosen_as_other_parts_are(overrides, names, tmp_path):
    config = amago_jax.compose(overrides)
    assert config.logger.plots is True
    OmegaConf.save(config, tmp_path / "config.yaml")  # and from what is saved, built again
    assert sorted(build_loggers(OmegaConf.load(tmp_path / "config.yaml"))) == names
    if "wandb" in names:
        assert config.logger.wandb.project == "mine"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["logger=wandbb"], "logger=wandbb does not exist; did you mean wandb"),
        (["logger=[wandb,tensorbord]"], "logger=tensorbord does not exist; did you mean tensorb"),
        (["logger=null"], "write 'logger=default'"),
        (["logger=wandb", "logger.wandb.projet=x"], "no setting '(logger.wandb.)?projet'"),
        (["logger=wandb", "logger.wandb.mode=of"], "logger.wandb.mode='of' must be one of online"),
    ],
)
def test_a_wrong_logger_is_a_sentence_before_anything_trains(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check([overrides], "config")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"x": 1}, "logger.mine has no _target_"),
        ({"_target_": "nowhere.Mine"}, "_target_=nowhere.Mine is nothing"),
        ({"_target_": "pathlib.Path"}, "_target_=pathlib.Path is no .*Logger"),
        ({"_target_": "os.abort"}, "_target_=os.abort is no .*Logger"),  # and is not called
        ({"_target_": "recorders.Recorder", "y": 1}, "mine: .*unexpected keyword argument 'y'"),
        (
            {"_target_": "amago_jax.runs.logging.TensorBoardLogger", "flush_seconds": 0},
            "logger.mine: flush_seconds=0 must be",
        ),
    ],
)
def test_what_makes_no_logger_is_a_sentence(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_loggers(OmegaConf.create({"logger": {"console": True, "mine": settings}}))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_missing_package_is_named_with_what_installs_it(vendor, monkeypatch):
    settings = OmegaConf.load(CONF_DIR / "logger" / f"{vendor}.yaml")
    assert list(build_loggers(OmegaConf.create({"logger": settings}))) == [vendor]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"pip install 'amago_jax\[{vendor}\]'"):
        build_loggers(OmegaConf.create({"logger": settings}))


def test_nobody_is_asked_to_log_in(tmp_path, monkeypatch):
    """Where W&B is to be online and no one is logged in, the run goes on without it."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    config, told = config_of("logger=wandb", "logger.wandb.mode=online"), []
    with Loggers(run_of(config, tmp_path), build_loggers(config), told.append):
        pass
    assert "wandb login" in told[0]
    assert not Path(os.fspath(tmp_path), "wandb").exists()
