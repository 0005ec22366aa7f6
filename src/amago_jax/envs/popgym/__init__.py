"""POPGym's tasks (Morad et al. 2023, arXiv 2303.01859)."""

from amago_jax.envs.popgym.multidomain import make_multidomain
from amago_jax.envs.popgym.tasks import TASKS, make_popgym

__all__ = ["TASKS", "make_multidomain", "make_popgym"]
