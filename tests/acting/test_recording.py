"""Episodes as GIF files."""

import jax
import numpy as np
import pytest
from PIL import Image

from amago_jax import ConfigError, compose, envs, make_run
from amago_jax.acting.policy import Policy
from amago_jax.acting.recording import frames, record_episode
from amago_jax.reports.rendering import LEAST_SIDE, LINE, MARGIN, film_strip, write_animation
from amago_jax.runs.commands import evaluate
from small_agents import small_agent, start
from tiny_runs import TINY_ANYWHERE


def captions(path, shape):
    """Return the pixels below each frame's picture, of a world of so many cells."""
    with Image.open(path) as gif:
        scale = -(-LEAST_SIDE // max(shape))
        assert gif.width == shape[1] * scale
        assert gif.height > shape[0] * scale
        found = []
        for index in range(gif.n_frames):
            gif.seek(index)
            found.append(np.asarray(gif.convert("RGB"))[shape[0] * scale :])
    return found


def check_captions(found):
    one, two = found[:2]
    assert (one != two).any(), "the step is not written, or stays"
    described = slice(MARGIN + LINE, None)
    assert (one[described] < 128).any(), "the instruction is not written"


def test_an_episode_is_drawn(tmp_path):
    env = envs.make("goals/package_delivery", length=12, limit=5)
    agent = small_agent(actions=env.action_space.size)
    example = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 2)).timestep
    policy = Policy(agent, start(agent, example))
    path = write_animation(frames(env, record_episode(env, policy)), tmp_path / "new/episode.gif")
    found = captions(path, (3, 12))
    assert 2 <= len(found) <= 6
    check_captions(found)


def test_a_trained_agent_is_drawn_on_request(tmp_path, capsys):
    maze = ["env=goals/maze_runner", "env.side=7", "env.limit=15", "rollout_steps=16"]
    make_run([*TINY_ANYWHERE, *maze], run_dir=tmp_path).save()
    evaluate(compose([f"checkpoint={tmp_path}", "episodes=4", "render=true"], "evaluate"))
    path = tmp_path / "episode.gif"
    assert f"drew an episode in {path}" in capsys.readouterr().out
    check_captions(captions(path, (7, 7)))


def test_what_cannot_be_drawn_is_named(tmp_path):
    env = ["env=gymnax/MemoryChain-bsuite", "rollout_steps=8", "replay.capacity=90"]
    make_run([*TINY_ANYWHERE, *env], run_dir=tmp_path).save()
    settings = [f"checkpoint={tmp_path}", "episodes=4", "render=true"]
    with pytest.raises(
        ConfigError, match=r"render=true: gymnax/MemoryChain-bsuite cannot be drawn"
    ):
        evaluate(compose(settings, "evaluate"))


def test_frames_with_captions_of_any_height_fit_side_by_side():
    image = np.full((4, 8, 3), 255, np.uint8)
    strip = film_strip([(image, ["one"]), (image, ["one", "two", "three"])], columns=2)
    last = np.asarray(strip)[-MARGIN - LINE :]
    one, two = np.split(last, [strip.width // 2], axis=1)
    assert (one == 255).all()
    assert (two < 128).any(), "the third line is cut off"
