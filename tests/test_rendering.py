"""Episodes as GIF files."""

import jax
import numpy as np
import pytest
from PIL import Image

from amago_jax import ConfigError, compose, envs
from amago_jax.policy import Policy
from amago_jax.rendering import LEAST_SIDE, render_episode
from amago_jax.run import evaluate
from small_agents import small_agent
from tiny_runs import tiny_run


@pytest.mark.parametrize(
    ("env", "shape"),
    [
        (envs.make("goals/maze_runner", side=7, goals=2, limit=5), (7, 7)),
        (envs.make("goals/package_delivery", length=12, limit=5), (3, 12)),
    ],
    ids=["maze", "delivery"],
)
def test_an_episode_is_drawn(tmp_path, env, shape):
    agent = small_agent(actions=env.action_space.size)
    example = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2)).timestep
    policy = Policy(agent, jax.jit(agent.init)(jax.random.key(0), example))
    with Image.open(render_episode(env, policy, tmp_path / "new" / "episode.gif")) as gif:
        scale = -(-LEAST_SIDE // max(shape))
        assert gif.width == shape[1] * scale
        assert gif.height > shape[0] * scale
        assert 2 <= gif.n_frames <= 6
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")))
    # The step in the caption differs, at least.
    assert (frames[0] != frames[1]).any()


def test_what_cannot_be_drawn_is_named(tmp_path):
    tiny_run(tmp_path).save()
    settings = [f"checkpoint={tmp_path}", "episodes=4", "render=true"]
    with pytest.raises(ConfigError, match=r"render=true: tmaze/passive cannot be drawn"):
        evaluate(compose(settings, "evaluate"))
