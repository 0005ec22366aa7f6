"""Meta-learning: several attempts at one hidden task."""

from amago_jax.envs.meta.dark_key_door import make_dark_key_door
from amago_jax.envs.meta.frozen_lake import make_frozen_lake
from amago_jax.envs.meta.gymnax import make_meta_gymnax
from amago_jax.envs.meta.wind import make_wind

__all__ = ["make_dark_key_door", "make_frozen_lake", "make_meta_gymnax", "make_wind"]
