"""The recipes hold what was published, setting by setting."""

import pytest
from omegaconf import OmegaConf

from amago_jax.runs.building import build
from amago_jax.runs.config import compose

PAPER = {  # what holds unless a recipe says otherwise
    "timestep_encoder.layers": 2,
    "timestep_encoder.normalize_inputs": True,
    "trajectory_encoder.width": 256,
    "trajectory_encoder.heads": 8,
    "trajectory_encoder.feedforward_width": 1024,
    "trajectory_encoder.layers": 3,
    "trajectory_encoder.dropout": 0.05,
    "trajectory_encoder.position": "fixed",
    "agent.critics": 4,
    "agent.hidden_size": 256,
    "agent.layers": 2,
    "agent.tau": 0.003,
    "optimizer.learning_rate": 1e-4,
    "optimizer.weight_decay": 1e-3,
    "optimizer.warmup_updates": 500,
    "optimizer.clip_norm": 1.0,
    "exploration._target_": "amago_jax.acting.exploration.BiLevel",
    "exploration.start": [1.0, 0.05],
    "exploration.randomize": True,
    "greedy_rollouts": False,
    "batch_size": 24,
    "envs": 24,
    "context_length": None,  # the whole episode
}
SHORT_GAMMAS = [0.1, 0.7, 0.9, 0.93, 0.95, 0.98, 0.99, 0.992, 0.994, 0.995, 0.997, 0.998]
RECIPES = {
    "tmaze": {
        "agent.reward_multiplier": 100.0,
        "agent.gammas.-1": 0.9999,
        "timestep_encoder.hidden_size": 128,
        "timestep_encoder.output_size": 128,
        "timestep_encoder.normalize_inputs": False,
        "trajectory_encoder.width": 128,  # of the reference timings
        "trajectory_encoder.feedforward_width": 512,
        "greedy_rollouts": True,
        "evaluation.greedy": True,
        "exploration._target_": "amago_jax.acting.exploration.Windowed",
        "exploration.anneal_steps": 100_000,
    },
    "dark_key_door": {
        "agent.reward_multiplier": 100.0,
        "timestep_encoder.hidden_size": 128,
        "timestep_encoder.output_size": 64,
        "exploration.anneal_steps": 500_000,
        "exploration.end": [0.8, 0.01],
        "env.budget": 500,
    },
    "meta_frozen_lake": {
        "agent.tau": 0.004,
        "timestep_encoder.layers": 1,
        "timestep_encoder.hidden_size": 128,
        "timestep_encoder.output_size": 64,
        "timestep_encoder.normalize_inputs": False,
        "trajectory_encoder.width": 128,
        "trajectory_encoder.feedforward_width": 512,
        "exploration._target_": "amago_jax.acting.exploration.Plain",
        "envs": 32,
        "updates": 1000,
        "rollout_steps": 15 * 5**2 + 1,
    },
    "popgym": {
        "agent.reward_multiplier": 100.0,
        "agent.tau": 0.0025,
        "agent.gammas": [*SHORT_GAMMAS, 0.999, 0.9991, 0.9992, 0.9993, 0.9994, 0.9995],
        "timestep_encoder.hidden_size": 512,
        "timestep_encoder.output_size": 200,
        "trajectory_encoder.position": "learnable",
        "trajectory_encoder.max_time": 2000,
        "distribution.discrete": {"clip_low": 1e-6, "clip_high": 1.0},
        "optimizer.warmup_updates": 2000,
    },
    "maze_runner": {
        "timestep_encoder.hidden_size": 128,
        "timestep_encoder.output_size": 256,
        "hindsight.strategy": "some",
        "exploration.anneal_steps": 500_000,
    },
    "xland_minigrid": {
        "agent.bins": 32,
        "agent.min_return": -1500.0,
        "agent.max_return": 1500.0,
        "env.attempts": 15,
        "context_length": 2048,
        "exploration._target_": "amago_jax.acting.exploration.Plain",
        "optimizer.clip_norm": 2.0,
    },
}
# About so many trajectories are kept, and so many updates are made of 1,000 steps of each actor.
EPISODES, UPDATES = (12_400, 20_000), (900, 1100)
OTHER_RATIO = {"meta_frozen_lake": 1000 / 0.376}  # 1,000 of a whole episode


@pytest.mark.parametrize("name", RECIPES)
def test_the_published_settings_are_the_recipes(name):
    config = compose([f"experiment={name}"])
    expected = PAPER | RECIPES[name]
    found = {key: value_at(config, key) for key in expected}
    assert found == expected


@pytest.mark.parametrize("name", [*RECIPES, "package_delivery", "wind", "half_cheetah_velocity"])
def test_replay_and_updates_are_as_published(name):
    fewer = ["env.rulesets=100"] if name == "xland_minigrid" else []  # which take long to generate
    config = compose([f"experiment={name}", *fewer])
    trainer = build(config)
    if name != "popgym":  # whose tasks are of any length
        episodes = config.replay.capacity / (trainer.env.horizon + 1) * config.envs
        assert EPISODES[0] < episodes < EPISODES[1]
    ratio = config.updates / config.rollout_steps * 1000
    if name in OTHER_RATIO:
        assert ratio == pytest.approx(OTHER_RATIO[name], rel=1e-2)
    else:
        assert UPDATES[0] < ratio < UPDATES[1]


# The protocol of docs/published.md.
PROTOCOL = {
    "trajectory_encoder.width": 256,
    "trajectory_encoder.heads": 8,
    "trajectory_encoder.feedforward_width": 1024,
    "trajectory_encoder.layers": 3,
    "agent.reward_multiplier": 100.0,
    "optimizer.learning_rate": 1e-4,
    "optimizer.weight_decay": 1e-3,
    "optimizer.warmup_updates": 128,
    "optimizer.clip_norm": 1.0,
    "batch_size": 16,
    "updates": 128,
    "exploration.anneal_steps": 50_000,
    "evaluation.episodes": 256,
    "evaluation.greedy": True,
    "context_length": None,
    "stop.return": None,
}
COMPARED = {
    "dark_key_door": ("BiLevel", 0.003, {"size": 8, "budget": 500, "reset_step": True}),
    "count_recall_medium": ("Plain", 0.0025, {}),
    "maze_runner_15": ("Plain", 0.003, {"side": 15, "goals": 3, "limit": 500, "rewired": True}),
    "tmaze_mixed": (
        "Windowed",
        0.0025,
        {"corridor_lengths": list(range(32, 257, 32)), "penalty": -1 / 128},
    ),
}


@pytest.mark.parametrize("name", COMPARED)
def test_the_comparison_of_memories_is_followed(name):
    exploration, tau, env = COMPARED[name]
    config = compose([f"experiment=published/{name}"])
    expected = PROTOCOL | {"agent.tau": tau} | {f"env.{key}": x for key, x in env.items()}
    assert {key: value_at(config, key) for key in expected} == expected
    assert config.exploration._target_.endswith(f".{exploration}")
    assert config.epochs * config.envs * config.rollout_steps == 8_000_000
    if name != "tmaze_mixed":  # whose episodes are of many lengths
        episodes = config.envs * config.replay.capacity / (build(config).env.horizon + 1)
        assert episodes == pytest.approx(10_000, rel=0.01)


def value_at(config, key):
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    value = config[int(last) if last.lstrip("-").isdigit() else last]
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
