"""What trained policies do is relabelled as the environments pay."""

import chex
import jax
import pytest

from amago_jax import make_run
from amago_jax.hindsight.relabel import Hindsight
from recordings import check_against_environment, pack, play, relabel, totals_of

ENVS, STEPS = 64, 640
RUNS = {
    "maze_runner": ["env=goals/maze_runner", "env.goals=2", "epochs=20"],
    "package_delivery": ["env=goals/package_delivery", "epochs=30"],
    "crafter": ["env=goals/crafter", "env.limit=60", "hindsight=some", "epochs=3"],
}


def check_policy(env, policy, key):
    """Check all strategies and choices; return how many episodes began, and how many goals."""

    @jax.jit
    def record(state, key):
        def act(key, states, memory):
            return policy.agent.act(state, states.timestep, memory, key, greedy=False)

        memory = policy.initial_memory(ENVS)
        return play(env, act, memory, key, envs=ENVS, steps=STEPS)

    states, keys = record(policy.state, key)
    batch = pack(states)
    for strategy in ("none", "some", "all", "all_or_nothing"):
        for choice in ("uniform", "rarity", "final"):
            hindsight = Hindsight(env.goals, strategy, choice)
            totals = totals_of(env.goals, seed=0) if choice == "rarity" else None
            new = relabel(env.goals, batch, hindsight.draw(key, batch), totals)
            if strategy == "none":
                chex.assert_trees_all_equal(new, batch)
            else:
                check_against_environment(env, states, batch, new, keys)
    return int(batch.timesteps.is_first.sum()), float(batch.timesteps.previous_reward.sum())


@pytest.mark.learning
@pytest.mark.parametrize("name", RUNS)
def test_the_environment_pays_what_relabelling_says(tmp_path, name):
    run = make_run([*RUNS[name], "evaluation.every=1000"], run_dir=tmp_path)
    for _ in run.epochs():
        pass
    episodes, goals = check_policy(run.trainer.env, run.policy, jax.random.key(0))
    assert episodes > 600
    assert goals > 100
