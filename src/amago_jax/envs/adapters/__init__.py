"""Other libraries' environments; each module but gymnax's needs the extra of its name."""

from amago_jax.envs.adapters.gymnax import make_gymnax

__all__ = ["make_gymnax"]
