"""What a sweep is made of, before its first run."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from amago_jax.errors import ConfigError
from amago_jax.runs.config import choices, parse_overrides
from amago_jax.runs.flags import parse
from amago_jax.runs.sweeps import Folders, _examples, _values, plan, run_folder
from command_line import command
from tiny_runs import LEAST

CONFIG = OmegaConf.create(
    {"run_dir": None, "env": {"env_id": "tmaze/passive"}, "sweep": {"name": "x"}, "seed": 3}
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def planned(*arguments):
    return plan(parse(arguments, "config"))


def test_a_preset_is_a_sweep_with_or_without_the_flag():
    assert planned("seed=1") is None
    assert planned("sweep=ablation", "seed=1") is not None
    for preset in set(choices("sweep")) - {"encoders"}:  # which is for another command
        assert planned(f"sweep={preset}") is not None, preset
    for preset, launcher in (("joblib", "joblib"), ("submitit", "slurm"), ("optuna", "basic")):
        sweep = planned(f"sweep={preset}", "seed=0,1")
        assert sweep.launcher == launcher
        assert sweep.folder == Path("runs/sweeps", preset)
        assert sweep.searches == (preset == "optuna")


def test_the_preset_of_ones_own_in_the_docs(tmp_path, monkeypatch):
    docs = Path(__file__).parents[2] / "docs" / "sweeps.md"
    (preset,) = re.findall(r"```yaml\n(.*?)```", docs.read_text(), flags=re.DOTALL)
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    (tmp_path / "mine" / "sweep" / "rates.yaml").write_text(preset)
    sweep = planned("--config-dir", "mine", "sweep=rates", "seed=0")
    assert (sweep.launcher, sweep.processes, sweep.folder.name) == ("joblib", 3, "rates")
    assert [run[0] for run in sweep.runs] == [
        f"optimizer.learning_rate={rate}" for rate in ("0.0001", "0.0003", "0.001")
    ]


def test_what_is_swept_over_and_what_is_given():
    sweep = planned("-m", "sweep=ablation", "seed=0,1", "epochs=3", "ablation=gru")
    assert sweep.swept == ("env", "seed")
    assert len(sweep.runs) == 4
    assert all({"epochs=3", "ablation=gru"} < set(run) for run in sweep.runs)
    assert not any(o.startswith("ablation=none") for o in sweep.overrides)


def test_sweeps_of_one_second_have_folders_of_their_own():
    first = planned("-m", "seed=0,1")
    first.folder.mkdir(parents=True)
    second = planned("-m", "seed=0,1")
    assert first.folder != second.folder
    assert planned("-m", "seed=0,1", "sweep.name=mine").folder == Path("runs/sweeps/mine")
    assert planned("-m", "seed=0,1", "hydra.sweep.dir=a b").folder == Path("a b")


@pytest.mark.parametrize(
    ("arguments", "processes"),
    [
        (["seed=0,1,2"], 1),
        (["sweep=joblib", "seed=0,1,2,3"], 2),
        (["sweep=joblib", "seed=0"], 1),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "seed=0,1,2,3"], 3),
        (["sweep=submitit", "hydra/launcher=submitit_local", "seed=0,1,2,3"], 4),
        (["sweep=submitit", "seed=0,1,2,3"], 1),
        (["sweep=optuna", "hydra/launcher=joblib", "hydra.sweeper.n_jobs=2"], 2),
    ],
)
def test_how_many_run_at_a_time(arguments, processes, monkeypatch):
    monkeypatch.setattr("amago_jax.runs.sweeps.cores", lambda: 4)
    assert planned("-m", *arguments).processes == processes


def test_the_ends_of_an_interval_stand_for_all_within():
    values = _values(["seed=1", "agent.tau=tag(log,interval(0.1,0.5))", "envs=choice(4,8,16)"])
    assert _examples(values) == [
        ["seed=1", "agent.tau=0.1", "envs=4"],
        ["seed=1", "agent.tau=0.5", "envs=4"],
        ["seed=1", "agent.tau=0.1", "envs=8"],
        ["seed=1", "agent.tau=0.1", "envs=16"],
    ]
    with pytest.raises(ConfigError, match=r"interval\(0,1\) gives no values .* sweep=optuna"):
        plan(parse(["-m", "agent.tau=interval(0,1)"], "config"))


def test_a_run_is_named_by_what_differs():
    overrides = ["++env.corridor_length=5", "agent.tau=0.01", "epochs=3", "seed=3"]
    swept = ("env.corridor_length", "agent.tau", "seed")
    expected = "runs/tmaze/passive/x/env.corridor_length_5+agent.tau_0.01/seed3"
    assert run_folder(CONFIG, overrides, swept) == Path(expected)
    assert run_folder(CONFIG, overrides, ("seed",)) == Path("runs/tmaze/passive/x/seed3")
    given = OmegaConf.merge(CONFIG, {"run_dir": "elsewhere"})
    assert run_folder(given, overrides, swept) == Path("elsewhere")


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(values=st.lists(NUMBERS.map(str), min_size=2, max_size=4, unique=True))
def test_folders_differ_as_values_do_and_can_be_given_to_other_commands(values):
    folders = [run_folder(CONFIG, [f"a.b={value}"], ("a.b",)) for value in values]
    assert len(set(folders)) == len(values)
    for folder in folders:
        (override,) = parse_overrides([f"checkpoint={folder}"])
        assert override.value() == str(folder)


def test_a_name_that_no_file_system_takes_is_refused():
    with pytest.raises(ConfigError, match=r"no folder can be named .* run_dir=runs/x/\$\{a\}"):
        run_folder(CONFIG, [f"a={'1' * 300}"], ("a",))


WRONG = {
    ("seed=0,1", "run_dir=here"): "run_dir=here would hold the runs of seed=0 and seed=1",
    ("seed=0,0",): "would hold the runs of one and another",
    ("sweep=optuna", "run_dir=here"): "would hold the runs of optimizer.learning_rate=1e-05 and",
    ("agent.tau=interval(0.1,0.5)",): "gives no values to run",
    ("sweep=optuna", "agent.tau=interval(0.1,5)"): "agent.tau=5.0 must be a number above 0",
    ("sweep=optuna", "envs=choice(4,0)"): "envs=0 must be a whole number",
    ("sweep=optuna", "sweep.metric=evaluation/x"): "sweep.metric=evaluation/x is no metric",
    ("seed=0,1", "env=tmaze/pasive"): "env=tmaze/pasive does not exist",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_what_is_wrong_with_a_sweep_is_found_before_its_first_run(arguments, monkeypatch, capsys):
    def task(config):
        raise AssertionError("a run began")

    command(monkeypatch, "-m", *LEAST, *arguments, task=task, exit_code=1)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert WRONG[arguments] in line
    assert not Path("runs").exists()


def test_a_folder_is_claimed_once():
    folders = Folders(("seed",))

    class Trainer:
        class replay:  # noqa: N801
            window = 5

    config = OmegaConf.merge(CONFIG, {"lanes": None})
    folders.claim(["seed=3"], config, Trainer)
    with pytest.raises(ConfigError, match="seed=3 and seed=4"):
        folders.claim(["seed=4"], config, Trainer)
    folders.claim(["seed=5"], OmegaConf.merge(config, {"run_dir": "runs/a"}), Trainer)
    with pytest.raises(ConfigError, match="seed=5 and seed=6"):
        folders.claim(["seed=6"], OmegaConf.merge(config, {"run_dir": "./runs/b/../a"}), Trainer)
