"""What a run left is data: nothing in it is called, evaluated or unpickled."""

import ast
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import amago_jax
from amago_jax.errors import CheckpointError, ConfigError, FileError
from amago_jax.reports.finding import find_runs
from amago_jax.reports.saved import read_settings
from amago_jax.runs.checkpoints import STATE
from amago_jax.runs.config import CONF_DIR
from amago_jax.runs.members import read_together
from amago_jax.runs.saved import modules_of, trusted
from amago_jax.runs.saving import Saver
from in_process import run_script
from tiny_runs import LEAST

FOREIGN = [
    "os.system",
    "subprocess.Popen",
    "builtins.exec",
    "amago_jax.runs.saving.shutil.rmtree",
    "amago_jax.runs.saved.importlib.import_module",
    "amago_jax.envs.make.__globals__",
    "amago_jax.envs.register",
    "amago_jax.nothing.make",
    "mine.make",
    "amago_jax.runs.directories.write_json",
    "",
]
MINE = """
from os import system
import functools, os
import amago_jax

def make(**settings):
    return amago_jax.envs.make(**settings)

class Part:
    @classmethod
    def build(cls): ...
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_parts_of_test_saved.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_parts_of_test_saved"


@pytest.mark.parametrize("target", FOREIGN)
@pytest.mark.parametrize(
    "place",
    [
        lambda name: {"env": {"_target_": name}},
        lambda name: {"env": {"kwargs": [{"inner": {"_target_": name}}]}},
        lambda name: {"grid": {"env._target_": ["amago_jax.envs.make", name]}},
        lambda name: {"grid": {"env[_target_]": [name]}},
        lambda name: {"grid": {"env": [{"_target_": name}]}},
        lambda name: {"label": name, "env": {"_target_": "${label}"}},
    ],
)
def test_only_what_conf_names_is_built(target, place):
    with pytest.raises(CheckpointError, match=r"the file: .*_target_\S*=.*imports=\["):
        trusted(place(target), "the file")


def test_all_that_is_composed_and_all_that_has_moved_is_built():
    for overrides in ([], ["agent=multitask", "trajectory_encoder=mamba"], ["env=meta/wind"]):
        config = amago_jax.compose(overrides)
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        assert trusted(resolved, "the file") == resolved
        assert modules_of(config) == []
    for name in ("amago.build_amago_agent", "hindsight.build_hindsight", "envs.registry.make"):
        trusted({"part": {"_target_": f"amago_jax.{name}"}}, "the file")
    named = re.findall(r"_target_: (\S+)", "".join(p.read_text() for p in CONF_DIR.rglob("*.yaml")))
    assert len(set(named)) > 20


def test_a_command_in_a_checkpoint_is_not_run(tmp_path):
    run = amago_jax.make_run(LEAST, tmp_path / "run")
    mark = tmp_path / "mark"
    config = OmegaConf.to_container(run.config, resolve=True)
    config["env"] = {"_target_": "os.system", "command": f"touch {mark}", "env_id": "x"}
    with Saver(tmp_path / "run" / "checkpoints") as saver:
        saver.save(1, {STATE: run.learner}, config)
    done = run_script("evaluate", f"checkpoint={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "env._target_=os.system is no part" in done.stderr
    assert not mark.exists()


def test_modules_that_are_named_on_loading_are_built_of(mine):
    settings = {"env": {"_target_": f"{mine}.make"}, "agent": {"_target_": f"{mine}.Part.build"}}
    with pytest.raises(CheckpointError, match=rf"imports=\[{mine}\]"):
        trusted(settings, "the file")
    trusted(settings, "the file", [mine])
    trusted(settings, "the file", mine)
    assert modules_of(OmegaConf.create(settings)) == [mine]
    for name in ("system", "os.system", "functools.partial", "amago_jax.runs.saving.shutil.rmtree"):
        with pytest.raises(CheckpointError, match="no part"):
            trusted({"env": {"_target_": f"{mine}.{name}"}}, "the file", [mine])
    with pytest.raises(ConfigError, match=r"imports=\['nowhere_to_be_found'\].*cannot be imported"):
        trusted({}, "the file", ["nowhere_to_be_found"])


def test_a_run_of_ones_own_parts_is_loaded_where_their_module_is_named(mine, tmp_path):
    run = amago_jax.make_run([*LEAST, f"env._target_={mine}.make"], tmp_path / "run")
    run.save()
    with pytest.raises(CheckpointError, match="no part"):
        amago_jax.load_policy(tmp_path / "run")
    amago_jax.load_policy(tmp_path / "run", imports=[mine])
    for arguments in ([], [f"imports=[{mine}]"]):
        done = run_script(
            "evaluate", f"checkpoint={tmp_path / 'run'}", "step=0", "episodes=1", *arguments
        )
        assert ("no part" in done.stderr) == (not arguments)
        # And going on with it.
        done = run_script("train", f"resume={tmp_path / 'run'}", "epochs=1", *arguments)
        assert ("no part" in done.stderr) == (not arguments)
        assert done.returncode == (0 if arguments else 1)


@pytest.mark.parametrize(
    "text", ["${oc.env:HOME}", "x${oc.env:HOME}", "${oc.decode:1}", "${${a}:HOME}", "${now:%Y}"]
)
def test_functions_in_files_are_not_called(text, tmp_path):
    for tree in ({"a": text}, {"a": {"b": [text]}}):
        with pytest.raises(CheckpointError, match=r"the file: .*is not evaluated"):
            trusted(tree, "the file")
    path = tmp_path / "config.yaml"
    OmegaConf.save(OmegaConf.create({"seed": 1, "label": text}), path)
    with pytest.raises(FileError, match=f"{path}: .*is not evaluated"):
        read_settings(path)
    (found,) = find_runs([tmp_path])
    assert (found.status, dict(found.config)) == ("unreadable", {})


def test_references_to_settings_in_files_are_followed(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "seed: 3\nlabel: seed ${seed} of ${env.name}\nenv: {name: x}"
    )
    (found,) = find_runs([tmp_path])
    assert found.config["label"] == "seed 3 of x"


@pytest.mark.parametrize(
    "text", ["- a", "a: [", "!!python/object/apply:os.system ['true']", "a: ${", "\udcff", ""]
)
def test_malformed_settings_are_named(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    if text:
        with pytest.raises(FileError, match=str(path)):
            read_settings(path)
    else:
        assert read_settings(path) == {}


def test_a_folder_of_programs_is_not_taken_from_a_file(tmp_path):
    folder = str(tmp_path / "programs")
    with pytest.warns(UserWarning, match=r"folder=.*programs.*name it again"):
        config = trusted({"compilation_cache": {"folder": folder}}, "the file")
    assert config.compilation_cache.folder == "default"
    assert trusted({"compilation_cache": {"folder": None}}, "x").compilation_cache.folder is None


@pytest.mark.parametrize("run_dir", ["../other", "/tmp", "../x/${seed}", "a/../../b"])
def test_runs_side_by_side_stay_in_their_folder(run_dir, tmp_path):
    path = tmp_path / "all" / "together.yaml"
    path.parent.mkdir()
    path.write_text(f"seed: 0\nseeds: 2\nrun_dir: {run_dir}")
    with pytest.raises(FileError, match="leads out of"):
        read_together(path)
    path.write_text("seed: 0\nseeds: 2\nrun_dir: .")
    assert read_together(path).run_dir == str(path.parent)


def test_nothing_is_unpickled():
    """The two formats that are pickles are read by readers that know arrays alone."""
    package = Path(amago_jax.__file__).parent
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                called = ast.unparse(node)
                assert called not in ("pickle.load", "pickle.loads", "np.load"), path
                assert not called.startswith(("yaml.", "marshal.", "dill.", "cloudpickle.")), path
        readers = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and "pickle.Unpickler" in map(ast.unparse, node.bases)
        ]
        uses = path.read_text().count("pickle.Unpickler")
        assert uses == len(readers), path
        for node in readers:
            assert "find_class" in [getattr(item, "name", None) for item in node.body], path
