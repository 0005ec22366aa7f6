"""Files that are folders, missing, empty or malformed: one sentence each, whichever command."""

import shutil

import pytest

import amago_jax
from amago_jax.errors import CheckpointError, ConfigError
from amago_jax.runs.training import train_run
from in_process import run_script
from tiny_runs import LEAST

QUIET = ["logger.console=false", "logger.plots=false"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run's folder, after an epoch."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train_run(amago_jax.make_run([*LEAST, *QUIET, "epochs=1"], folder))
    return folder


def as_folder(path):
    path.unlink()
    path.mkdir()
    (path / "inside").touch()


def as_file(path):
    shutil.rmtree(path)
    path.touch()


def with_text(text):
    return lambda path: path.write_text(text)


# What is done to a file of a run's folder, the command, and what it says of that.
TABLE = [
    ("metrics.jsonl", as_folder, "resume", "metrics.jsonl: Is a directory"),
    ("metrics.jsonl", with_text("{}\n"), "resume", "metrics.jsonl, line 1: not the metrics"),
    ("metrics.jsonl", with_text("[\n"), "resume", "metrics.jsonl, line 1: not a JSON object"),
    ("metrics.jsonl", with_text(""), "resume", None),
    ("metrics.jsonl", as_folder, "plot", "has logged anything"),
    ("metrics.jsonl", with_text(""), "plot", "has logged anything"),
    ("metrics.jsonl", with_text("[\n"), "plot", "has logged anything"),
    ("metrics.jsonl", with_text("{}\n"), "plot", "fits nothing the runs log"),
    ("metrics.jsonl", with_text(""), "report", "without a row yet"),
    ("metrics.jsonl", with_text("\x00\n"), "report", "not a JSON object"),
    ("config.yaml", as_folder, "report", "config.yaml: Is a directory"),
    ("config.yaml", with_text("a: ["), "report", "config.yaml: "),
    ("config.yaml", as_folder, "resume", "config.yaml: Is a directory"),
    ("outcome.json", as_folder, "resume", "outcome.json: Is a directory"),
    ("outcome.json", as_folder, "report", "outcome.json: Is a directory"),
    ("outcome.json", with_text("{"), "report", "outcome.json: not an outcome"),
    (".lock", as_folder, "resume", ".lock: "),
    ("checkpoints", as_file, "resume", "no checkpoint folder"),
    ("checkpoints", as_file, "evaluate", "no checkpoint folder"),
    ("checkpoints/3/config/metadata", as_folder, "evaluate", "Is a directory"),
    ("checkpoints/3/state", as_file, "evaluate", "checkpoints/3 is corrupt"),
]


@pytest.mark.parametrize(("name", "spoil", "command", "message"), TABLE)
def test_one_sentence_says_which_file_and_what(name, spoil, command, message, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    spoil(folder / name)
    arguments = {
        "resume": ["train", f"resume={folder}", "epochs=1"],
        "plot": ["plot", f"runs=[{folder}]", f"output={tmp_path / 'curves.png'}"],
        "report": ["report", str(folder), f"output={tmp_path / 'report'}"],
        "evaluate": ["evaluate", f"checkpoint={folder}"],
    }[command]
    done = run_script(*arguments)
    if message is None:
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert message in done.stderr + done.stdout
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("below", [False, True])
def test_a_file_where_a_folder_should_be_is_named(below, tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "run" if below else tmp_path / "file"
    done = run_script("train", *LEAST, f"run_dir={place}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"run_dir={place}" in done.stderr
    for command in (["train", f"resume={place}"], ["evaluate", f"checkpoint={place}"]):
        done = run_script(*command)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert str(place) in done.stderr
    with pytest.raises(ConfigError, match="run_dir="):
        amago_jax.make_run(LEAST, place)
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        amago_jax.load_run(place)
