"""Whole epochs: compiled once, reproducible, the same on any number of devices."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from amago_jax import make_run
from amago_jax.learning.learner import init_learner, make_optimizer, update
from amago_jax.parallel import DATA_AXIS, SHARED, make_mesh, own_part, per_device
from compilations import compiled_programs
from own_terms import FORECAST
from small_agents import small_agent, start
from streams import pack, random_episode
from tiny_runs import LEAST, RARITY, TINY, tiny_run


def test_nothing_compiles_after_the_first_epoch(tmp_path):
    run = tiny_run(tmp_path, "epochs=8")
    with compiled_programs() as programs:
        counts = [len(programs) for _ in run.epochs()]
    assert counts[0] > 0, "the counter counts nothing"
    assert counts[1:] == [counts[0]] * 7, programs[counts[0] :]


def test_buffers_are_donated(tmp_path):
    run = tiny_run(tmp_path, "epochs=1")
    before = run.state
    next(iter(run.epochs()))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.experience.replay.timesteps))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.learner.agent.params))


def without_times(rows):
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def test_the_same_seed_gives_the_same_metrics_bit_for_bit(tmp_path):
    rows = [
        without_times(tiny_run(tmp_path / str(i), "epochs=4", f"seed={seed}").epochs())
        for i, seed in enumerate([5, 5, 6])
    ]
    assert repr(rows[0]) == repr(rows[1])
    assert repr(rows[0]) != repr(rows[2])


def test_processes_share_programs_and_the_same_command_gives_the_same_metrics(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}

    def metrics(name, *overrides):
        script = Path(__file__).parents[2] / "scripts" / "train.py"
        arguments = [*LEAST, "epochs=2", "logger.plots=false"]
        arguments += [f"run_dir={tmp_path / name}"]
        arguments += [f"compilation_cache.folder={tmp_path / 'programs'}", *overrides]
        command = [sys.executable, str(script), *arguments]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [line.partition('"time/')[0] for line in lines]

    def programs():
        return {path.name for path in (tmp_path / "programs").rglob("*-cache")}

    first, compiled = metrics("a"), programs()
    assert len(first) == 2
    assert first == metrics("b")
    assert any("train_epoch" in name for name in compiled)
    # Whatever else would be compiled would be kept, too.
    others = ["seed=5", "label=other", "epochs=1", "optimizer.learning_rate=1", "agent.tau=0.5"]
    assert metrics("c", *others) != first[:1]
    assert programs() == compiled


def test_metrics_count_what_happened(tmp_path):
    rows = list(tiny_run(tmp_path, "epochs=3").epochs())
    # Episodes of 5 transitions are 6 timesteps: 12 timesteps hold 10 transitions, 4 times over.
    assert [row["env_steps"] for row in rows] == [40, 80, 120]
    assert [row["updates"] for row in rows] == [3, 6, 9]
    assert [row["train/episodes"] for row in rows] == [8, 8, 8]
    assert all(row["train/episode_length"] == 5 for row in rows)
    assert all(row["evaluation/episode_length"] == 5 for row in rows)


def test_training_stops_once_the_goal_is_reached(tmp_path):
    run = tiny_run(tmp_path, "epochs=9", "stop.return=-100", "stop.evaluations=3")
    assert len(list(run.epochs())) == 3


def test_the_epsilon_reported_is_the_one_used(tmp_path):
    schedule = ["exploration.start=[0.5,0.5]", "exploration.randomize=false"]
    overrides = [*LEAST, "epochs=2", "evaluation.every=2", *schedule]
    row = next(iter(make_run(overrides, run_dir=tmp_path).epochs()))
    assert row["train/epsilon"] == pytest.approx(0.5)


def test_hindsight_by_rarity_trains_and_compiles_once(tmp_path):
    run = make_run([*RARITY, "epochs=4"], run_dir=tmp_path)
    with compiled_programs() as programs:
        counts = [len(programs) for _ in run.epochs()]
    assert counts[0] > 0
    assert counts[1:] == [counts[0]] * 3, programs[counts[0] :]
    row = run.rows[-1]
    assert 0 <= row["evaluation/success/instruction"] <= row["evaluation/success/goals"] <= 1
    assert 0 <= row["evaluation/success/goal_2"] <= row["evaluation/success/goal_1"] <= 1
    # Every timestep of a maze achieves one goal, the cell one stands on.
    experience, hindsight = own_part(run.state.experience), run.trainer.hindsight
    totals = experience.goals.totals
    steps, rows = 4 * 40 * 4, run.rows
    assert int(totals.in_timesteps.sum()) == int(totals.timesteps) == steps - int(totals.episodes)
    assert int(totals.episodes) >= sum(row["train/episodes"] for row in rows)
    assert run.trainer.agent.timestep_encoder.observation_keys == ("goals", "observation")
    # What is learned from holds more reward than what was earned.
    batch = run.trainer.replay.sample(experience.replay, jax.random.key(0), 16)
    relabelled = hindsight.relabel(batch, hindsight.draw(jax.random.key(1), batch), totals)
    assert relabelled.timesteps.previous_reward.sum() > batch.timesteps.previous_reward.sum() + 8


def put(tree, mesh, spec):
    """Place a tree on the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, spec))


# Of eight devices, in a process of their own, the tests that need several: how each ended is
# written as a line of JSON.
DEVICE_SCRIPT = """
import gc, json, sys, traceback
gc.disable()  # as tests/conftest.py does
sys.path[:0] = {tests!r}
import test_seeds, test_trainer
from in_process import run_script

def train():
    done = run_script("train", *{arguments!r})
    assert done.returncode == 0, done.stderr
    assert "80 steps" in done.stdout.splitlines()[-1], done.stdout

ended = {{}}
for check in (test_trainer.check_devices, test_seeds.check_devices, train):
    name = f"{{check.__module__}}.{{check.__name__}}"
    try:
        check()
        ended[name] = ""
    except BaseException:
        ended[name] = traceback.format_exc()
print(json.dumps(ended))
"""


UPDATES = 20


def check_devices():
    """Check that several devices take the updates that one takes, on the same batches and draws."""
    rng = np.random.default_rng(0)

    def batch():
        rows = [
            [random_episode(rng, n, discrete=True), random_episode(rng, 9 - n, discrete=True)]
            for n in (2, 4, 6, 7, 3, 5, 1, 8)
        ]
        return pack(rows, 12)

    batches = jax.tree.map(lambda *x: np.stack(x), *[batch() for _ in range(UPDATES)])
    whole = small_agent(discrete=True, extra_losses=(FORECAST,))
    split = dataclasses.replace(
        whole,
        axis_name="data",
        timestep_encoder=whole.timestep_encoder.clone(axis_name="data"),
    )
    optimizer = make_optimizer(1e-3, warmup_updates=5)
    learner = init_learner(
        optimizer, start(whole, jax.tree.map(lambda x: x[0, :, 0], batches.timesteps))
    )
    draws = jax.vmap(whole.draw)(jax.random.split(jax.random.key(1), UPDATES), batches)

    def learn(agent, learner, batches, draws):
        def step(learner, now):
            return update(agent, optimizer, learner, *now)

        return jax.lax.scan(step, learner, (batches, draws))

    expected, metrics = jax.jit(functools.partial(learn, whole))(learner, batches, draws)
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), expected.agent.params, learner.agent.params)
    assert min(jax.tree.leaves(moved)) > 1e-4  # far more than what is allowed below
    assert jax.local_device_count() == 8
    rows = P(None, DATA_AXIS)  # behind the axis of updates
    split_draws = jax.tree.map(lambda x: SHARED, draws).replace(critic_subset=rows)
    for devices in (1, 2, 4, 8):
        mesh = make_mesh(devices)
        split_learn = per_device(
            functools.partial(learn, split),
            mesh,
            in_specs=(SHARED, rows, split_draws),
            out_specs=(SHARED, SHARED),
        )
        found, found_metrics = jax.jit(split_learn)(
            put(learner, mesh, SHARED), put(batches, mesh, rows), draws
        )
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * (1e-3 + np.abs(b).max()))
        for name, value in metrics.items():
            scale = 1e-3 + np.abs(value).max()
            np.testing.assert_allclose(
                found_metrics[name], value, rtol=0, atol=1e-5 * scale, err_msg=name
            )


@pytest.fixture(scope="module")
def on_several_devices(tmp_path_factory):
    """What went wrong in each of the tests that need several devices."""
    folder = tmp_path_factory.mktemp("devices")
    script = DEVICE_SCRIPT.format(
        tests=[str(path) for path in Path(__file__).parents[:2]],
        arguments=[*TINY, "epochs=2", "devices=4", f"run_dir={folder}", "logger.plots=false"],
    )
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "check",
    ["test_trainer.check_devices", "test_seeds.check_devices"],
    ids=["alone", "seeds side by side"],
)
def test_any_number_of_devices_takes_the_same_updates(check, on_several_devices):
    assert not on_several_devices[check], on_several_devices[check]


def test_a_run_on_several_devices_trains(on_several_devices):
    assert not on_several_devices["__main__.train"], on_several_devices["__main__.train"]
