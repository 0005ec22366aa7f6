"""Tasks that follow instructions, whose goals can be relabelled in hindsight."""

from amago_jax.envs.goals.maze_runner import make_maze_runner
from amago_jax.envs.goals.package_delivery import make_package_delivery

__all__ = ["make_maze_runner", "make_package_delivery"]
