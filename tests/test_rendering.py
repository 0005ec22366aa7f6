"""Episodes as GIF files."""

import jax
import numpy as np
import pytest
from PIL import Image

from amago_jax import ConfigError, compose, envs, make_run
from amago_jax.policy import Policy
from amago_jax.rendering import LEAST_SIDE, LINE, MARGIN, render_episode
from amago_jax.run import evaluate
from small_agents import small_agent
from tiny_runs import TINY_ANYWHERE, tiny_run


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
        captions = []
        for index in range(gif.n_frames):
            gif.seek(index)
            captions.append(np.asarray(gif.convert("RGB"))[shape[0] * scale :])
    one, two = captions[:2]
    assert (one != two).any(), "the step is not written, or stays"
    described = slice(MARGIN + LINE, None)
    assert (one[described] < 128).any(), "the instruction is not written"


def test_a_trained_agent_is_drawn_on_request(tmp_path, capsys):
    maze = ["env=goals/maze_runner", "env.side=7", "env.limit=15", "rollout_steps=16"]
    make_run([*TINY_ANYWHERE, *maze], run_dir=tmp_path).save()
    settings = [f"checkpoint={tmp_path}", "episodes=4", "render=true"]
    evaluate(compose(settings, "evaluate"))
    assert f"drew an episode in {tmp_path / 'episode.gif'}" in capsys.readouterr().out
    with Image.open(tmp_path / "episode.gif") as gif:
        assert gif.n_frames > 1


def test_what_cannot_be_drawn_is_named(tmp_path):
    tiny_run(tmp_path).save()
    settings = [f"checkpoint={tmp_path}", "episodes=4", "render=true"]
    with pytest.raises(ConfigError, match=r"render=true: tmaze/passive cannot be drawn"):
        evaluate(compose(settings, "evaluate"))
