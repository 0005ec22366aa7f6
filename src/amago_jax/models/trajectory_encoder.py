"""What every trajectory encoder, the memory of the agent, can do."""

from typing import Any, Self

from flax import linen as nn

from amago_jax.models.attention import Choice
from amago_jax.models.segments import blank_padding, segment_positions
from amago_jax.settings import check_fields
from amago_jax.types import Array, Dtype, Params


class TrajectoryEncoder(nn.Module, kw_only=True):
    """A causal map from encoded timesteps to states, over whole windows or one step at a time.

    Both ways give the same numbers: ``__call__`` for windows, `decode` with a memory that
    `initial_memory` begins.

    Attributes:
        dtype: what it computes in, remembers in (but for what a recurrence sums up), and answers
            in, whatever its inputs are.

    Raises:
        ValueError: if a setting is not what its annotation says.
    """

    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        super().__post_init__()

    def __call__(self, x: Array, time: Array, segment_ids: Array, training: bool = False) -> Array:
        """Encode packed windows.

        Args:
            x: ``[B, L, E]``, encoded timesteps.
            time: int32 ``[B, L]``, steps since the episode began.
            segment_ids: int32 ``[B, L]``, see `Batch`.
            training: whether dropout is on and statistics move.

        Returns:
            Of `dtype`, ``[B, L, D]``; each timestep sees its own segment's past and itself.
        """
        raise NotImplementedError

    def initial_memory(self, batch_size: int) -> Any:
        """Return an empty memory for ``batch_size`` rows."""
        raise NotImplementedError

    def decode(self, x: Array, time: Array, is_first: Array, memory: Any) -> tuple[Array, Any]:
        """Encode the next timestep of every row.

        Args:
            x: ``[B, E]``.
            time: int32 ``[B]``, steps since the episode began.
            is_first: bool ``[B]``, rows whose past is forgotten first.
            memory: from `initial_memory` or the previous call.

        Returns:
            Of `dtype`, ``[B, D]``, equal to the full pass, and the memory after.
        """
        raise NotImplementedError

    def for_acting(self, params: Params, statistics: Params) -> tuple[Self, Params]:
        """Return an encoder and parameters that decode alike, with repeated work done once."""
        return self, params

    def for_whole_episodes(self, length: int) -> Self:
        """Return an encoder that encodes a window of ``length`` timesteps as `decode` does."""
        return self

    def attention_maps(self, x: Array, time: Array, segment_ids: Array) -> Array:
        """Return where timesteps look, whichever backend attends.

        Args:
            x: as in ``__call__``; time and segment_ids too.
            time: see there.
            segment_ids: see there.

        Returns:
            float32 ``[B, layers, H, L, L]``: row i is what timestep i gives to each, and sums to 1.

        Raises:
            ValueError: if there is no attention to look into.
        """
        raise ValueError(
            f"attention maps need trajectory_encoder=transformer or one of its variants, for "
            f"{type(self).__name__} has no attention"
        )

    def with_attention(self, name: str, platform: str) -> Self:
        """Return an encoder that attends over windows as `choose` says.

        Args:
            name: "auto" or a backend.
            platform: of JAX, where windows are encoded.

        Raises:
            ValueError: if there is no attention to choose a backend for.
        """
        if name != "auto":
            raise ValueError(
                f"attention={name} needs trajectory_encoder=transformer or one of its variants, "
                f"for {type(self).__name__} has no attention; set attention=auto"
            )
        return self

    def check_times(self, horizon: int) -> None:
        """Check that all timesteps of an episode of ``horizon`` transitions have times to tell.

        Raises:
            ValueError: if late ones would share a place.
        """

    def choose_attention(self, length: int) -> Choice | None:
        """Choose the backend of attention for windows of ``length``; None without attention.

        Raises:
            ValueError: if there is no such backend, or it cannot serve.
        """
        return None


class RecurrentEncoder(TrajectoryEncoder):
    """A trajectory encoder whose memory is of a fixed size and has no end.

    It counts for itself, so that times change nothing, and nothing in it is random.
    """

    def __call__(self, x: Array, time: Array, segment_ids: Array, training: bool = False) -> Array:
        """See `TrajectoryEncoder`."""
        return self.unroll(blank_padding(x, segment_ids), segment_positions(segment_ids))

    def unroll(self, x: Array, positions: Array) -> Array:
        """Encode windows ``x [B, L, E]``, forgetting where ``positions [B, L]`` are 0."""
        raise NotImplementedError
