"""Every flag of Hydra's, in each spelling and place, with configurations of one's own."""

import logging
import re

import pytest
from hydra._internal.utils import get_args_parser

from amago_jax.errors import ConfigError
from amago_jax.runs.config import Sources, choices, compose
from amago_jax.runs.flags import parse
from command_line import command


@pytest.fixture
def plain_logging():
    """Undo what Hydra does to logging where it shows information."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of one's own configurations: a choice of each of two groups, and a primary one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "env").mkdir(parents=True)
    (tmp_path / "mine" / "experiment").mkdir()
    env = "# @package _global_\nenv: {_target_: amago_jax.envs.make, env_id: tmaze/active}\n"
    (tmp_path / "mine" / "env" / "own.yaml").write_text(env)
    experiment = "# @package _global_\nepochs: 7\nlabel: own experiment\n"
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(experiment)
    primary = "defaults: [estimate, _self_]\nlabel: own primary\n"
    (tmp_path / "mine" / "own.yaml").write_text(primary)
    return tmp_path / "mine"


# Spellings of the same flags.
SPELLINGS = [
    [["--cfg", "job"], ["--cfg=job"], ["-c", "job"]],
    [["--cfg", "all", "--resolve"], ["--resolve", "-c", "all"]],
    [
        ["--cfg", "job", "--package", "agent"],
        ["--package=agent", "--cfg=job"],
        ["-cjob", "-pagent"],
    ],
    [["--info", "defaults"], ["--info=defaults"], ["-i", "defaults"]],
    [["--multirun"], ["-m"]],
    [["--run"], ["-r"]],
    [["--shell-completion"], ["-sc"]],
    [["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"], ["-cd=mine"]],
    [["--config-path", "mine"], ["--config-path=mine"], ["-cp", "mine"]],
    [["--config-name", "own"], ["--config-name=own"], ["-cn", "own"]],
    [["--experimental-rerun", "config.pickle"], ["--experimental-rerun=config.pickle"]],
    [["--help"], ["-h"]],
    [["--hydra-help"]],
]


@pytest.mark.parametrize("spellings", SPELLINGS)
def test_a_flags_value_is_taken_for_no_override(spellings, own):
    for flags in spellings:
        ahead, behind = parse([*flags, "hydra.x=1", "+y=2"], "c"), parse(["hydra.x=1", *flags], "c")
        between = parse(["hydra.x=1", *flags, "+y=2"], "c")
        assert ahead == between
        assert ahead.flags == behind.flags
        assert behind.overrides == ["hydra.x=1"]
        # Given to Hydra's parser ahead of everything else, they are the same flags.
        assert parse([*ahead.flags, *ahead.overrides], "c") == ahead
        assert ahead == parse([*spellings[0], "hydra.x=1", "+y=2"], "c")


def test_hydras_own_help_is_composed_of_its_settings_alone():
    line = parse(["seed=3", "--hydra-help", "hydra.verbose=true"], "config")
    assert (line.composes, line.overrides) == (False, ["hydra.verbose=true"])


def test_all_of_hydras_flags_are_in_the_table():
    options = get_args_parser().format_usage()
    spelled = {word.partition("=")[0] for row in SPELLINGS for flags in row for word in flags}
    # A usage line names the short spelling of each.
    short = set(re.findall(r"\[(-[\w-]+)", options))
    assert short - spelled <= {"--version"}


# What is given besides seed=3, and what must be printed.
SHOWN = {
    ("--cfg", "job", "--resolve"): "seed: 3",
    ("--cfg", "hydra"): "sweeper:",
    ("--cfg", "job", "--package", "checkpoint"): "# @package checkpoint\nevery: 10",
    ("--info", "defaults"): "trajectory_encoder/transformer",
    ("--info", "searchpath"): "pkg://hydra.conf",
    ("--cfg", "job", "--config-dir", "mine", "env=own"): "env_id: tmaze/active",
    ("--cfg", "job", "--config-dir=mine", "experiment=own"): "label: own experiment",
    ("--cfg", "job", "hydra.searchpath=[file://mine]", "experiment=own"): "epochs: 7",
    ("--cfg", "job", "--config-dir", "mine", "--config-name", "own"): "label: own primary",
    ("--cfg", "job", "--config-path", "alone", "--config-name", "small"): "just: this",
    ("--version",): "Hydra 1.3",
}


@pytest.mark.parametrize("flags", SHOWN)
def test_what_a_flag_shows(flags, own, monkeypatch, capsys, plain_logging):
    (own.parent / "alone").mkdir()
    (own.parent / "alone" / "small.yaml").write_text("just: this\nseed: 0\n")
    command(monkeypatch, "seed=3", *flags, exit_code=0 if flags == ("--version",) else None)
    assert SHOWN[flags] in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--shell-completion", "-sc"])
@pytest.mark.parametrize("place", [0, 1])
def test_shell_completion_takes_its_word_for_no_override(flag, place, monkeypatch, capsys):
    arguments = ["install=bash"]
    arguments.insert(place, flag)
    command(monkeypatch, *arguments)
    assert "complete" in capsys.readouterr().out


# Flags that run something, and the label that the run must have.
RUN = {
    (): None,
    ("--run",): None,
    ("--config-dir", "mine", "experiment=own"): "own experiment",
    ("--config-dir=mine", "env=own", "label=given"): "given",
    ("-cd", "mine", "-cn", "own"): "own primary",
}


@pytest.mark.parametrize("flags", RUN)
def test_what_a_flag_runs(flags, own, monkeypatch):
    seen = []
    command(monkeypatch, "seed=3", *flags, task=seen.append, config_name="estimate")
    ((label, seed),) = [(config.label, config.seed) for config in seen]
    assert (label, seed) == (RUN[flags], 3)


def test_several_runs_of_ones_own_configurations(own, monkeypatch):
    seen = []

    def task(config):
        seen.append((config.label, config.seed))

    arguments = ["experiment=own", "-m", "--config-dir", "mine", "seed=3,4"]
    command(monkeypatch, *arguments, task=task, config_name="estimate")
    assert seen == [("own experiment", 3), ("own experiment", 4)]


WRONG = {
    ("--config-dir", "nowhere"): "--config-dir=nowhere: there is no such folder",
    ("--config-path=nowhere",): "--config-path=nowhere: there is no such folder",
    ("--multirun", "--cfg", "job"): "--multirun and --cfg do not go together",
    ("--resolve",): "--resolve goes with --cfg or --help",
    ("--config-name", "nothing"): "nothing",
    ("--cfg", "job", "sed=1"): "there is no setting 'sed'",
    ("--config-dir=mine", "experiment=ow"): "experiment=ow does not exist; did you mean own",
    ("--config-dir=mine", "experiment=own", "epochs=0"): "epochs=0 must be a whole number",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_what_is_wrong_with_flags_is_one_sentence(arguments, own, monkeypatch, capsys):
    command(monkeypatch, *arguments, exit_code=1)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert WRONG[arguments] in line


def test_an_unknown_flag_is_refused(monkeypatch, capsys):
    command(monkeypatch, "--multirn", "seed=0,1", exit_code=2)
    assert "--multirn" in capsys.readouterr().err


def test_choices_of_ones_own_are_offered(own):
    sources = Sources(added=str(own))
    assert {"own", "tmaze/passive"} < set(choices("env", sources))
    assert compose(["env=own"], sources=sources).env.env_id == "tmaze/active"
    with pytest.raises(ConfigError, match="env=own does not exist"):
        compose(["env=own"])
