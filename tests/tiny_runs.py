"""Runs small enough for a test."""

import dataclasses

from amago_jax import make_run

TRANSFORMER = [
    "trajectory_encoder.width=16",
    "trajectory_encoder.heads=2",
    "trajectory_encoder.layers=1",
    "trajectory_encoder.feedforward_width=16",
]
OTHERS = [
    "timestep_encoder.hidden_size=16",
    "agent.hidden_size=16",
    "agent.gammas=[0.9,0.99]",
    "envs=4",
    "batch_size=4",
    "updates=3",
    "evaluation.episodes=4",
    "replay.capacity=40",
    "stop.return=null",
]
CORRIDOR = ["env.corridor_length=4", "rollout_steps=12"]
TINY_ANYWHERE = [*TRANSFORMER, *OTHERS]
TINY = [*TINY_ANYWHERE, *CORRIDOR]
# Compiled in half the time, where memory is not what is tested.
WITHOUT_MEMORY_ANYWHERE = ["trajectory_encoder=identity", *OTHERS]
WITHOUT_MEMORY = [*WITHOUT_MEMORY_ANYWHERE, *CORRIDOR]
MAZE = ["env=goals/maze_runner", "env.side=7", "env.goals=2", "env.limit=15", "rollout_steps=40"]
LEAST = [  # learning that compiles soonest
    *WITHOUT_MEMORY,
    "agent.layers=1",
    "agent.popart=false",
    "agent.detailed_metrics=false",
    "timestep_encoder.layers=1",
    "timestep_encoder.normalize_inputs=false",
    "exploration=plain",
]
MAZE_WITHOUT_MEMORY = [*WITHOUT_MEMORY_ANYWHERE, *MAZE]
# Goals are counted; one program for all tests that look at this.
RARITY = [*MAZE_WITHOUT_MEMORY, "hindsight=rarity", "agent.detailed_metrics=false"]
TINY_MAZE = [*TINY_ANYWHERE, *MAZE]


def on_no_mesh(trainer):
    """Return a trainer whose `learn` may be called outside of a mesh of devices."""
    encoder = trainer.agent.timestep_encoder.clone(axis_name=None)
    agent = dataclasses.replace(trainer.agent, axis_name=None, timestep_encoder=encoder)
    return dataclasses.replace(trainer, agent=agent)


def tiny_run(tmp_path, *overrides):
    return make_run([*TINY, *overrides], run_dir=tmp_path)
