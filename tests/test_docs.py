"""The examples of README and docs run as they stand, and do what is said of them."""

import re
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import amago_jax
import optimized
from amago_jax import envs
from amago_jax.envs import registry
from amago_jax.hindsight.relabel import Hindsight
from amago_jax.runs.logging import Loggers, build_loggers
from amago_jax.types import Batch

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PACKAGE = ROOT / "src" / "amago_jax"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_of(path):
    (code,) = re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)
    return code


def test_the_example_runs_and_its_policy_solves_the_maze(tmp_path, monkeypatch):
    code = python_of(README)
    assert len(code.strip().splitlines()) <= 24
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    with optimized.training():
        exec(code, names)
    assert names["run"].rows[-1]["evaluation/return"] == 1.0
    assert names["total"].shape == (8,)
    assert float(names["total"].min()) == 1.0


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Names of the example in docs/hindsight.md, after it ran."""
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("hindsight"))
        patch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
        exec(python_of(ROOT / "docs" / "hindsight.md"), names)
        names["env"] = envs.make("cells")
    return names


def test_hindsight_takes_a_dozen_lines():
    assert python_of(ROOT / "docs" / "hindsight.md").count("# +") <= 12


def test_the_environment_of_the_hindsight_example_pays_what_relabelling_says(cells):
    env, protocol = cells["env"], cells["PROTOCOL"]

    @jax.jit
    def play(key, goals):
        """One episode of random actions, under goals ``[2, 2]`` if any are given."""
        state = env.reset(key)
        if goals is not None:
            instruction = state.env_state.instruction.replace(goals=goals)
            state = state.replace(env_state=state.env_state.replace(instruction=instruction))
        actions = jax.random.randint(key, (env.horizon,), 0, 4)

        def step(state, action):
            return env.transition(key, state, action), state.timestep

        last, timesteps = jax.lax.scan(step, state, actions)
        return jax.tree.map(lambda x, y: jnp.append(x, y[None], 0), timesteps, last.timestep)

    @jax.jit
    def relabel(key, timesteps):
        # An episode whose instruction is followed ends there.
        ended = jnp.cumsum(timesteps.is_last) - timesteps.is_last > 0
        batch = jax.tree.map(lambda x: x[None], Batch(timesteps, (~ended).astype(int)))
        hindsight = Hindsight(protocol, "all")
        return jax.tree.map(lambda x: x[0], hindsight.relabel(batch, hindsight.draw(key, batch)))

    paid = []
    for key in jax.random.split(jax.random.key(0), 40):
        before = play(key, None)
        new = relabel(key, before)
        goals = new.timesteps.observation["goals"][0]
        kept = np.asarray(new.segment_ids > 0)
        after = play(key, goals)
        for name in ("previous_reward", "is_last", "terminated"):
            ours, theirs = (np.asarray(getattr(t, name)) for t in (new.timesteps, after))
            np.testing.assert_array_equal(ours[kept], theirs[kept], err_msg=name)
        paid.append(new.timesteps.previous_reward[kept].sum())
    assert set(np.asarray(paid)) == {2.0}


def test_the_logger_of_ones_own_logs(tmp_path, monkeypatch):
    module = types.ModuleType("my_loggers")
    exec(python_of(ROOT / "docs" / "loggers.md"), module.__dict__)
    monkeypatch.setitem(sys.modules, "my_loggers", module)
    config = amago_jax.compose(["+logger.returns._target_=my_loggers.Returns"])
    run = types.SimpleNamespace(config=config, directory=tmp_path, rows=[], resumed_step=None)
    with Loggers(run, build_loggers(config), print) as loggers:
        for epoch in (1.0, 2.0):
            row = {"epoch": epoch, "env_steps": 50 * epoch}
            loggers.log(row | ({"evaluation/return": 0.5} if epoch == 2 else {}))
    assert (tmp_path / "returns.csv").read_text() == "100,0.5\n"


def test_the_two_commands_come_first():
    first = README.read_text().split("```")[1].split()
    assert first[:2] == ["make", "train"]
    assert "test" in first


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page):
    paths = re.findall(r"`((?:src|conf|scripts|tests|docs)/[\w/.]*)`", page.read_text())
    assert len(paths) > 10 or page != README
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_component_has_its_file():
    text = (ROOT / "docs" / "components.md").read_text()
    paths = re.findall(r"`([a-z_]+/[\w/]*(?:\.py|/))`", text)
    assert len(paths) > 20
    for path in paths:
        # Of a room and a folder at the top, such as that of results in runs/, the room is meant.
        folder = PACKAGE if (PACKAGE / path.partition("/")[0]).exists() else ROOT
        assert (folder / path).exists(), path


def test_the_site_is_built_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    build(config)  # strict: a warning raises
    text = (tmp_path / "reference" / "index.html").read_text()
    assert "amago_jax.make_run" in text
    assert "Transformers" in (tmp_path / "index.html").read_text()
