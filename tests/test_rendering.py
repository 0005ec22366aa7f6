"""Episodes as GIF files."""

import numpy as np
import pytest
from PIL import Image

import amago_jax
from amago_jax.config import ConfigError
from amago_jax.rendering import LEAST_SIDE
from amago_jax.run import evaluate
from tiny_runs import TINY, tiny_run

SMALL = [setting for setting in TINY if not setting.startswith(("env.", "rollout_steps"))]


@pytest.mark.parametrize(
    ("env", "shape"),
    [
        (["env=goals/maze_runner", "env.side=7", "env.limit=5", "rollout_steps=12"], (7, 7)),
        (["env=goals/package_delivery", "env.limit=5", "rollout_steps=12"], (3, 12)),
    ],
)
def test_an_episode_is_drawn(tmp_path, capsys, env, shape):
    run = amago_jax.make_run([*SMALL, *env, "evaluation.episodes=4"], run_dir=tmp_path)
    run.save()
    settings = [f"checkpoint={tmp_path}", "episodes=4", "render=true"]
    evaluate(amago_jax.compose(settings, "evaluate"))
    with Image.open(tmp_path / "episode.gif") as gif:
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
    out = capsys.readouterr().out
    assert "success/goal_1" in out
    assert "episode.gif" in out


def test_what_cannot_be_drawn_is_named(tmp_path):
    tiny_run(tmp_path).save()
    settings = [f"checkpoint={tmp_path}", "episodes=4", "render=true"]
    with pytest.raises(ConfigError, match=r"render=true: tmaze/passive cannot be drawn"):
        evaluate(amago_jax.compose(settings, "evaluate"))
