"""Parts of one's own, as docs/own_parts.md has them, are built, trained, saved and loaded."""

import re
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import amago_jax
from amago_jax.envs import registry
from amago_jax.errors import CheckpointError, ConfigError
from amago_jax.runs.named_parts import find_part
from amago_jax.runs.saved import modules_of, trusted
from amago_jax.runs.shapes import agent_shapes
from in_process import run_script
from tiny_runs import LEAST

PAGE = Path(__file__).parents[2] / "docs" / "own_parts.md"
MODULE = "my_parts"
PARTS = [
    "env=my/recall",
    "timestep_encoder._target_=my_parts.Plainly",
    "trajectory_encoder._target_=my_parts.Average",
    "trajectory_encoder.width=16",
    "distribution._target_=my_parts.Tempered",
    "distribution.temperature=2",
    "advantage_filter._target_=my_parts.SoftFilter",
    "exploration._target_=my_parts.Halving",
    "extra_losses.forecast._target_=my_parts.Forecast",
    "extra_losses.forecast.coefficient=0.1",
]
OTHERS = ("trajectory_encoder", "timestep_encoder", "exploration", "env")
SMALL = [item for item in LEAST if re.split(r"[.=]", item)[0] not in OTHERS]
SMALL += ["epochs=1", "updates=1", "logger.plots=false"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the page's module, not imported yet, in which a user stands."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / f"{MODULE}.py").write_text("\n".join(code))
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop(MODULE, None)


def test_the_pages_parts_are_trained_saved_and_loaded_by_the_commands(folder):
    given = [*SMALL, *PARTS, f"imports=[{MODULE}]", "run_dir=run"]
    done = run_script("train", *given)
    assert done.returncode == 0, done.stderr
    assert "my_parts.Average does not take heads, feedforward_width, layers" in done.stdout
    assert '"loss/forecast": ' in Path("run", "metrics.jsonl").read_text()
    # As another process would, which has imported nothing.
    sys.modules.pop(MODULE)
    registry._FACTORIES.pop("my/recall")
    with pytest.raises(
        CheckpointError, match=rf"name it on loading, as in imports=\[{MODULE}\]|no part"
    ):
        amago_jax.load_policy("run")
    assert MODULE not in sys.modules
    policy = amago_jax.load_policy("run", imports=[MODULE])
    assert policy.initial_memory(3).shape == (3, 16)
    done = run_script("evaluate", "checkpoint=run", "episodes=2", f"imports=[{MODULE}]")
    assert done.stdout.startswith("my/recall: return")


def test_modules_in_a_file_are_not_imported_for_it_names_them(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    saved = {"imports": [MODULE, "os"], "env": {"_target_": "amago_jax.envs.make"}}
    with pytest.raises(CheckpointError, match=rf"the file: .*as in imports=\[{MODULE},os\]"):
        trusted(saved, "the file")
    assert MODULE not in sys.modules
    assert trusted(saved, "the file", [MODULE]) == saved
    assert modules_of(OmegaConf.create(saved)) == [MODULE, "os"]


def test_a_class_in_place_of_the_environment_has_its_own_name_and_settings(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    target = f"env._target_={MODULE}.Recall"
    config = amago_jax.compose([target, "env.steps=5"])
    assert dict(config.env) == {"_target_": f"{MODULE}.Recall", "steps": 5, "env_id": "Recall"}
    run = amago_jax.make_run([*SMALL, "trajectory_encoder=identity", target, "env.steps=5"])
    assert (run.trainer.env.name, run.trainer.env.horizon) == ("Recall", 5)
    assert run.directory.parts[:2] == ("runs", "Recall")
    assert amago_jax.compose([target, "env.env_id=my/own"]).env.env_id == "my/own"
    with pytest.raises(ConfigError, match="env has no setting 'corridor_length'"):
        amago_jax.make_run([target, "env.corridor_length=5"])
    with pytest.raises(ConfigError, match=r"env\.steps=0 must be a whole number"):
        amago_jax.make_run([target, "env.steps=0"])
    with pytest.raises(ConfigError, match=r"makes a Halving, no environment"):
        amago_jax.make_run([f"env._target_={MODULE}.Halving", "env.horizon=3"])


def test_what_the_user_writes_and_no_part_takes_is_refused(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    own = f"trajectory_encoder._target_={MODULE}.Average"
    with pytest.raises(ConfigError, match=r"no setting 'heads'.*choose from decay, width"):
        amago_jax.make_run([own, "trajectory_encoder.heads=2"])
    with pytest.raises(ConfigError, match=r"no setting 'widht'.*did you mean width"):
        amago_jax.make_run([own, "trajectory_encoder.widht=2"])


def test_files_of_ones_own_name_parts_and_modules(folder):
    chosen = folder / "my_conf" / "trajectory_encoder"
    chosen.mkdir(parents=True)
    (folder / "my_conf" / "experiment").mkdir()
    (chosen / "average.yaml").write_text(f"_target_: {MODULE}.Average\nwidth: 16\n")
    text = f"# @package _global_\nimports: [{MODULE}]\nenv: {{env_id: my/recall}}\n"
    (folder / "my_conf" / "experiment" / "mine.yaml").write_text(text)
    given = ["--config-dir=my_conf", "trajectory_encoder=average", "--cfg=job"]
    done = run_script("train", *given)
    assert "width: 16" in done.stdout, done.stderr
    done = run_script("train", *given[:2], "experiment=mine", "epochs=0")
    assert "epochs=0" in done.stderr
    assert MODULE in sys.modules
    (chosen / "average.yaml").write_text(f"_target_: {MODULE}.Average\nwidht: 16\n")
    done = run_script("train", *given[:2])
    assert "no setting 'widht'" in done.stderr


def test_a_memory_of_another_package_is_adapted(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    given = [f"trajectory_encoder._target_={MODULE}.Waves", "trajectory_encoder.width=6"]
    run = amago_jax.make_run([*SMALL, *given])
    shapes = agent_shapes(run.trainer.agent, run.trainer.env).params["trajectory_encoder"]
    assert shapes["memory"]["layers.0.algebra.algebra.U_h.weight"].shape == (6, 6)
    ((state, started),) = run.trainer.agent.initial_memory(3)
    assert (state.shape, started.shape) == ((3, 6), (3,))


def test_modules_that_are_none_are_named(folder):
    for item, words in (
        ("imports=[no_such_module]", "no_such_module cannot be imported"),
        ("imports=[3]", "must list modules"),
    ):
        done = run_script("train", item)
        assert done.returncode == 1
        assert words in done.stderr


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (f"{MODULE}.Averag", "my_parts has no 'Averag': did you mean Average?"),
        ("my_prts.Average", "there is no module 'my_prts': did you mean my_parts"),
        ("Average", "must name a module and what is in it"),
        (f"{MODULE}.PAGE", "is a str, neither a class nor a function"),
        ("broken.Average", "broken cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_name_that_leads_to_no_part_is_told_with_the_nearest(
    folder, monkeypatch, caplog, target, words
):
    monkeypatch.syspath_prepend(str(folder))
    with (folder / f"{MODULE}.py").open("a") as file:
        file.write("PAGE = 'own_parts'\n")
    (folder / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError) as found:
        find_part("trajectory_encoder", target)
    assert str(found.value).startswith(f"trajectory_encoder._target_={target}")
    assert words in str(found.value)
    assert not caplog.records
