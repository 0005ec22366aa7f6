"""Memories written elsewhere, as trajectory encoders.

A memory is a tree of arrays and whatever else, such as a module of Equinox, with three methods of
memax's protocol: ``initialize_carry()``; ``(carry, (inputs [T, F], starts [T])) -> (carries of
every step [T, ...], outputs [T, O])``; and ``latest_recurrent_state(carries)``. Where ``starts`` is
true, it forgets what was before. It knows one sequence; rows are its `jax.vmap`.

Source: Morad et al. 2024, arXiv 2402.09900 (memoroids), section 4, on resets inside a scan.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from amago_jax.models.normalization import Norm, Normalization
from amago_jax.models.precision import at_least_float32
from amago_jax.models.trajectory_encoder import RecurrentEncoder
from amago_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A memory without its weights.

    Attributes:
        shapes: of its weights, by name.
        names: of its weights, in the order of its leaves.
        rest: its leaves, None where weights were.
        structure: of its leaves.
    """

    shapes: dict[str, jax.ShapeDtypeStruct]
    names: tuple[str, ...]
    rest: tuple[Any, ...]
    structure: Any

    def filled(self, weights: Params) -> Any:
        """Return the memory with weights by their names."""
        found = iter(weights[name] for name in self.names)
        leaves = [next(found) if leaf is None else leaf for leaf in self.rest]
        return jax.tree.unflatten(self.structure, leaves)


def weights_of(memory: Any) -> Params:
    """Return the weights of a memory by where in it they are: its arrays of real numbers.

    Raises:
        ValueError: if it has arrays of others, which would be neither trained nor saved.
    """
    weights = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(memory):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if _is_weight(leaf):
            weights[name] = leaf
        elif isinstance(leaf, jax.Array):
            raise ValueError(
                f"{type(memory).__name__}: {name} is an array of {leaf.dtype}, but weights must be "
                "of real numbers; make it of them, or of no JAX array if it is none"
            )
    return weights


def _is_weight(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


class AdaptedMemory(RecurrentEncoder, kw_only=True):
    """A memory of the protocol above, and a norm.

    It computes in float32 whatever ``dtype`` is, in which it answers: other people's recurrences
    may hold complex numbers, for which there is nothing narrower.

    Attributes:
        normalization: what the norm at the end does, see `amago_jax.models.normalization.Norm`.
    """

    normalization: Normalization = "layer"

    def make_memory(self, inputs: int, key: Array) -> Any:
        """Make a memory.

        Args:
            inputs: F, on which shapes of what it carries must not depend.
            key: of its first weights.
        """
        raise NotImplementedError

    def unroll(self, x: Array, positions: Array) -> Array:
        """See `RecurrentEncoder`."""
        return self._remember(x, positions == 0, self.initial_memory(len(x)))[0]

    def initial_memory(self, batch_size: int) -> Any:
        """Return zeros like what the memory carries, ``[B, ...]``.

        What that is at first the memory itself says, by weights perhaps, where an episode begins.
        """
        skeleton = _skeleton(self.clone(parent=None), 1)
        carry = jax.eval_shape(lambda w: skeleton.filled(w).initialize_carry(), skeleton.shapes)
        return jax.tree.map(lambda x: jnp.zeros((batch_size, *x.shape), x.dtype), carry)

    def decode(self, x: Array, time: Array, is_first: Array, memory: Any) -> tuple[Array, Any]:
        """See `TrajectoryEncoder`."""
        encoded, memory = self._remember(x[:, None], is_first[:, None], memory)
        return encoded[:, 0], memory

    @nn.compact
    def _remember(self, x: Array, is_first: Array, memory: Any) -> tuple[Array, Any]:
        """Encode steps ``x [B, T, E]`` from what is remembered; return that after them as well."""
        skeleton = _skeleton(self.clone(parent=None), x.shape[-1])
        weights = self.param("memory", lambda key: weights_of(self.make_memory(x.shape[-1], key)))
        adapted = skeleton.filled(weights)

        def remember(carry: Any, x: Array, starts: Array) -> tuple[Any, Array]:
            carries, outputs = adapted(carry, (x, starts))
            return adapted.latest_recurrent_state(carries), outputs

        memory, outputs = jax.vmap(remember)(memory, at_least_float32(x), is_first)
        return Norm(self.normalization, name="output_norm")(outputs.astype(self.dtype)), memory


@functools.lru_cache(maxsize=64)
def _skeleton(encoder: AdaptedMemory, inputs: int) -> Skeleton:
    """Trace the making of an encoder's memory."""
    made: dict[str, Any] = {}

    def weights(key: Array) -> Params:
        memory = encoder.make_memory(inputs, key)
        leaves, made["structure"] = jax.tree.flatten(memory)
        made["rest"] = tuple(None if _is_weight(leaf) else leaf for leaf in leaves)
        found = weights_of(memory)
        made["names"] = tuple(found)  # which a dictionary that JAX returns has in another order
        return found

    shapes = jax.eval_shape(weights, jax.random.key(0))
    return Skeleton(shapes, **made)
