"""The one signature behind which all backends of causal attention stand, and their names."""

from typing import Any, Protocol

from amago_jax.models.attention.blocks import Blocks
from amago_jax.models.attention.cudnn import CuDNN
from amago_jax.models.attention.dense import Dense
from amago_jax.models.attention.pallas import Pallas
from amago_jax.models.attention.sight import Sight
from amago_jax.models.attention.splash import Splash
from amago_jax.types import Array


class AttentionBackend(Protocol):
    """Causal attention over packed windows, its scores and their softmax in float32."""

    def prepare(self, segment_ids: Array) -> Any:
        """Return what all layers of a pass share.

        Args:
            segment_ids: int32 ``[B, L]``, see `Batch`.
        """

    def attend(self, query: Array, key: Array, value: Array, prepared: Any) -> Array:
        """Attend within segments, each timestep to its past and itself.

        Args:
            query: float32 or bfloat16 ``[B, H, L, E]``, divided by sqrt(E) beforehand.
            key: ``[B, H, L, E]``, of the query's dtype.
            value: ``[B, H, L, E]``, of the query's dtype.
            prepared: from `prepare`.

        Returns:
            ``[B, H, L, E]``, of the query's dtype.
        """


def make_backend(name: str, sight: Sight, platform: str) -> AttentionBackend:
    """Return a backend by its name in `LIMITS`, as it is best on a platform.

    Args:
        name: from `choose`, which sees to it that the backend can serve.
        sight: what a timestep sees.
        platform: of JAX, such as "cpu" or "gpu".
    """
    if name == "dense":
        # Rows in blocks save work, and multiply launches, which are what short windows cost a GPU.
        return Dense(sight, row_blocks=None if platform == "cpu" else 1)
    makers = {"blocks": Blocks, "pallas": Pallas, "cudnn": CuDNN, "splash": Splash}
    return makers[name](sight)
