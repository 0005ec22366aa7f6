"""An episode of a trained policy as an animated picture, with captions.

Environments that can be drawn have a method ``draw(env_state, params)``, which returns an image,
uint8 ``[H, W, 3]``, and may have ``describe(env_state, params)``, which returns a line of text.
Both are given NumPy arrays.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw

from amago_jax.agent import Agent, AgentState
from amago_jax.envs import StreamEnv, StreamState
from amago_jax.policy import Policy
from amago_jax.types import Array

LEAST_SIDE = 320  # pixels; small images are enlarged
LINE, MARGIN = 14, 6  # pixels, of captions
MILLISECONDS = 150  # per frame


def render_episode(
    env: StreamEnv, policy: Policy, path: str | Path, *, seed: int = 0, greedy: bool = True
) -> Path:
    """Play one episode and draw it.

    Args:
        env: the environment.
        policy: who plays.
        path: the GIF file to write; its folder is made.
        seed: of the episode.
        greedy: take the likeliest actions, else sample.

    Returns:
        The file.

    Raises:
        ValueError: if the environment cannot be drawn.
    """
    draw = getattr(env.env, "draw", None)
    if draw is None:
        raise ValueError(f"{env.name} cannot be drawn: {type(env.env).__name__} has no method draw")
    describe = getattr(env.env, "describe", lambda state, params: "")
    states = jax.device_get(_play(policy.agent, env, policy.state, jax.random.key(seed), greedy))
    last = int(np.argmax(states.timestep.is_last))
    frames, total = [], 0.0
    for step in range(last + 1):
        state = jax.tree.map(lambda x, step=step: x[step], states)
        total += float(state.timestep.previous_reward)
        caption = [f"{env.name}, step {step}, return {total:g}"]
        caption += [line for line in [describe(state.env_state, env.params)] if line]
        frames.append(_frame(draw(state.env_state, env.params), caption))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The last frame stays for a while.
    durations = [MILLISECONDS] * last + [10 * MILLISECONDS]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return path


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _play(
    agent: Agent, env: StreamEnv, agent_state: AgentState, key: Array, greedy: bool
) -> StreamState:
    """Return the states of one episode, leaves ``[horizon + 1, ...]``, whatever follows its end."""
    key_reset, key_steps = jax.random.split(key)
    first = env.reset(key_reset)

    def step(carry: tuple[StreamState, Any], key: Array) -> tuple[Any, StreamState]:
        state, memory = carry
        key_action, key_env = jax.random.split(key)
        row = jax.tree.map(lambda x: x[None], state.timestep)
        action, memory = agent.act(agent_state, row, memory, key_action, greedy=greedy)
        return (env.transition(key_env, state, action[0]), memory), state

    keys = jax.random.split(key_steps, env.horizon + 1)
    return jax.lax.scan(step, (first, agent.initial_memory(1)), keys)[1]


def _frame(image: np.ndarray, caption: list[str]) -> Image.Image:
    """Enlarge an image and write a caption below it."""
    height, width = image.shape[:2]
    scale = max(1, -(-LEAST_SIDE // max(height, width)))
    picture = Image.fromarray(np.asarray(image, np.uint8)).resize(
        (width * scale, height * scale), Image.Resampling.NEAREST
    )
    size = (picture.width, picture.height + LINE * len(caption) + 2 * MARGIN)
    frame = Image.new("RGB", size, "white")
    frame.paste(picture)
    pen = ImageDraw.Draw(frame)
    for index, line in enumerate(caption):
        pen.text((MARGIN, picture.height + MARGIN + LINE * index), line, fill="black")
    return frame
