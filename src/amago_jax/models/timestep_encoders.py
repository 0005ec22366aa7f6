"""Timestep encoders: one timestep in, one vector out, no memory.

Images have their own, in `amago_jax.models.convolutions`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict

from amago_jax.kinds import Listed
from amago_jax.models.layers import MLP, ActivationName
from amago_jax.models.normalization import (
    InputNormalization,
    Norm,
    Normalization,
    check_normalization,
)
from amago_jax.settings import HiddenLayers, Name, Size, check_fields
from amago_jax.types import Array, Dtype


class TimestepEncoder(nn.Module, kw_only=True):
    """What all timestep encoders share: a choice of what they see.

    Hidden rewards and actions are zeroed, not cut out, so that the weights keep their shapes. Whole
    numbers that name things, such as what a cell of a grid holds, are no amounts: where they are
    not looked up in tables, each becomes a row of zeros with a one at its place.

    Source: AMAGO, section 3 ("timestep encoder").

    Attributes:
        observation_keys: the observation keys to look at; None for all. Hindsight relabelling
            needs keys (achieved goals) that the policy must not see.
        hide_rewards: do not look at the previous reward.
        hide_rl2: look at neither the previous reward nor the previous action.
        one_hot: whether codes are one-hot; else they are read as numbers, and bytes as pixels.
        codes: how many codes there are, by key of the observations that the environment says are
            codes; what is no code, as -1 often is not, becomes zeros alone.
        axis_name: mesh axis over whose devices batches are split, if any; matters only where
            inputs are normalized.
        dtype: what it computes in, behind the normalization of inputs, and answers in.

    Raises:
        ValueError: if a setting is not what its annotation says.
    """

    observation_keys: Annotated[tuple[Name, ...], Listed(least=1)] | None = None
    hide_rewards: bool = False
    hide_rl2: bool = False
    one_hot: bool = False
    codes: Mapping[str, int] = FrozenDict()
    axis_name: str | None = None
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        if self.observation_keys is not None:
            self.observation_keys = tuple(self.observation_keys)
        self.codes = FrozenDict(self.codes)
        super().__post_init__()

    def __call__(
        self, observation: dict[str, Array], rl2: Array, mask: Array, training: bool = False
    ) -> Array:
        """Encode timesteps.

        Args:
            observation: arrays ``[..., *shape]`` by key; an image is ``[..., H, W, C]``.
            rl2: float32 ``[..., 1+A]``, the previous reward, then the previous action.
            mask: bool ``[...]``, which timesteps count for running statistics, where there are any.
            training: move running statistics before using them, and augment images.

        Returns:
            Of `dtype`, ``[..., E]``.

        Raises:
            ValueError: if an observation key does not exist, or observations do not fit the
                encoder.
        """
        raise NotImplementedError

    def visible(
        self, observation: Mapping[str, Array], rl2: Array
    ) -> tuple[dict[str, Array], Array]:
        """Return what the encoder may see of an observation and of ``rl2 [..., 1+A]``.

        Raises:
            ValueError: if a chosen observation key does not exist.
        """
        keys = sorted(observation if self.observation_keys is None else self.observation_keys)
        for key in keys:
            if key not in observation:
                raise ValueError(
                    f"observation_keys names {key!r}, but observations have {sorted(observation)}"
                )
        if self.hide_rl2:
            rl2 = jnp.zeros_like(rl2)
        elif self.hide_rewards:
            rl2 = rl2.at[..., 0].set(0.0)
        return {key: observation[key] for key in keys}, rl2

    def looked_up(self, observation: Mapping[str, Any]) -> Mapping[str, int]:
        """Return how many tokens there are, by key of the observations looked up in tables."""
        return {}

    def code_counts(self, observation: Mapping[str, Any]) -> dict[str, int]:
        """Return how many codes there are, by key of the observations that become one-hot."""
        tokens = self.looked_up(observation)
        keys = [key for key in sorted(observation) if key in self.codes and key not in tokens]
        return {key: self.codes[key] for key in keys} if self.one_hot else {}

    def describe(self, observation: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, str]:
        """Say how whole numbers are read, by key of what is visible of an observation."""
        keys = [key for key in integer_keys(observation) if key in (self.observation_keys or [key])]
        tokens, counts = self.looked_up(observation), self.code_counts(observation)
        words = {key: self._plainly(observation[key]) for key in keys}
        words |= {key: f"one-hot, {counts[key]} codes" for key in keys if key in counts}
        return words | {key: f"looked up, of {tokens[key]}" for key in keys if key in tokens}

    def _plainly(self, array: jax.ShapeDtypeStruct) -> str:
        return "as numbers"


def one_hot(codes: Array, count: int) -> Array:
    """Return zeros with a one at each code's place, float32 ``[..., n * count]``.

    What is not in [0, count) becomes zeros alone.

    Args:
        codes: integers ``[..., n]``.
        count: how many codes there are.
    """
    expanded = jax.nn.one_hot(codes, count, dtype=jnp.float32)
    return expanded.reshape(*codes.shape[:-1], codes.shape[-1] * count)


def flatten(observation: Mapping[str, Array], rl2: Array) -> Array:
    """Concatenate observations, in alphabetical order of their keys, and the meta-RL input.

    Args:
        observation: arrays ``[..., *shape]`` by key.
        rl2: float32 ``[..., 1+A]``.

    Returns:
        float32 ``[..., F]``.
    """
    leading = rl2.shape[:-1]
    parts = [observation[key].reshape(*leading, -1) for key in sorted(observation)]
    return jnp.concatenate([part.astype(rl2.dtype) for part in [*parts, rl2]], axis=-1)


class FeedForwardTimestepEncoder(TimestepEncoder):
    """Flatten and concatenate everything the policy sees, normalize it, and pass it through an MLP.

    Source: AMAGO, section 3 ("timestep encoder").

    Attributes:
        hidden_size: width of the hidden layers.
        layers: number of hidden layers.
        output_size: width E of the output.
        activation: name of the activation.
        normalize_inputs: standardize the inputs by running statistics.
        normalization: what the norm of the output does, see `amago_jax.models.normalization.Norm`.
        auto_scale: hidden layers and the output are at least as wide as the flattened input.
    """

    hidden_size: Size = 512
    layers: HiddenLayers = 2
    output_size: Size = 256
    activation: ActivationName = "leaky_relu"
    normalize_inputs: bool = True
    normalization: Normalization = "layer"
    auto_scale: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if not self.auto_scale:
            check_normalization(self.normalization, output_size=self.output_size)

    @nn.compact
    def __call__(
        self, observation: dict[str, Array], rl2: Array, mask: Array, training: bool = False
    ) -> Array:
        """See `TimestepEncoder`."""
        seen, rl2 = self.visible(observation, rl2)
        numbers, codes = self._split(seen, rl2.ndim - 1)
        normalized = self._normalize(flatten(numbers, rl2), mask, training)
        return self._encode(jnp.concatenate([normalized, *codes], axis=-1))

    def _split(
        self, seen: Mapping[str, Array], leading: int
    ) -> tuple[dict[str, Array], list[Array]]:
        """Tell numbers from codes, which become vectors ``[..., n]`` that are not normalized."""
        counts = self.code_counts(seen)
        flat = {key: seen[key].reshape(*seen[key].shape[:leading], -1) for key in counts}
        tokens = self.looked_up(seen)
        numbers = {key: x for key, x in seen.items() if key not in counts and key not in tokens}
        return numbers, [one_hot(flat[key], count) for key, count in counts.items()]

    def _normalize(self, x: Array, mask: Array, training: bool) -> Array:
        if not self.normalize_inputs:
            return x
        normalize = InputNormalization(axis_name=self.axis_name, name="input_normalization")
        return normalize(x, mask, training)

    def _encode(self, x: Array) -> Array:
        least = x.shape[-1] if self.auto_scale else 0
        hidden, output = max(self.hidden_size, least), max(self.output_size, least)
        mlp = MLP(hidden, self.layers, output, self.activation, name="mlp")
        return Norm(self.normalization, name="output_norm")(mlp(x.astype(self.dtype)))


class Embedding(nn.Module):
    """A table of learned vectors, one per token.

    Attributes:
        vocabulary: V, the number of tokens.
        features: D, the width of a vector.
    """

    vocabulary: int
    features: int

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Look up integers ``[...]`` as float32 ``[..., D]``; what is out of range is clamped.

        Flax's own table answers NaN past its end, and JAX's indexing counts -1, which many
        environments write for "nothing", from the end.
        """
        shape = (self.vocabulary, self.features)
        table = self.param("table", nn.initializers.normal(1.0), shape)
        # Widened first: a uint8 does not hold the limit of a larger vocabulary.
        return table[jnp.clip(tokens.astype(jnp.int32), 0, self.vocabulary - 1)]


def integer_keys(observation: Mapping[str, Any]) -> list[str]:
    """Return the keys of integer observations, sorted."""
    return sorted(k for k, x in observation.items() if jnp.issubdtype(x.dtype, jnp.integer))


def embed_tokens(
    observation: Mapping[str, Array], vocabulary: Mapping[str, int], features: int, leading: int
) -> list[Array]:
    """Look tokens up in learned tables, one for each key; to be called in a compact method.

    Args:
        observation: arrays ``[..., *shape]`` by key.
        vocabulary: number of tokens by key.
        features: width D of a token's vector.
        leading: number of leading axes.

    Returns:
        The vectors of all tokens of a key behind each other, float32 ``[..., n * D]``, in
        alphabetical order of the keys.

    Raises:
        ValueError: if a key of the vocabulary does not exist or holds no integers.
    """
    integers = integer_keys(observation)
    for key in vocabulary:
        if key not in integers:
            raise ValueError(
                f"vocabulary names {key!r}, but the integer observations are {integers}"
            )
    vectors = []
    for key in sorted(vocabulary):
        table = Embedding(vocabulary[key], features, name=f"embedding_{key}")
        tokens = observation[key]
        vectors.append(table(tokens).reshape(*tokens.shape[:leading], -1))
    return vectors


class TokenEncoder(FeedForwardTimestepEncoder):
    """Look integer observations up in learned tables; the rest is as in the feed-forward encoder.

    For symbols of gridworlds and words of instructions, whose numbers mean nothing as numbers.
    The vectors of all positions are concatenated, behind the (normalized) rest; they are not
    normalized themselves, being learned already.

    An encoder is never told the range of an observation, so a token beyond its vocabulary cannot
    be refused: it is read as the vocabulary's last, a negative one as its first.

    Source: AMAGO, section 3 ("timestep encoder"), for environments with symbols and text.

    Attributes:
        vocabulary: tokens per table; one number for every integer observation, or a number by
            key, and then integer observations without one are seen as numbers.
        embedding_size: width of a token's vector.

    """

    vocabulary: Size | Mapping[str, Size] = 256
    embedding_size: Size = 32

    def __post_init__(self) -> None:
        """Check the settings, and make the vocabulary hashable."""
        if isinstance(self.vocabulary, Mapping):
            self.vocabulary = FrozenDict(self.vocabulary)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, observation: dict[str, Array], rl2: Array, mask: Array, training: bool = False
    ) -> Array:
        """See `TimestepEncoder`.

        Raises:
            ValueError: if a key of the settings does not exist or holds no integers, or if no
                observation does.
        """
        seen, rl2 = self.visible(observation, rl2)
        leading = rl2.ndim - 1
        numbers, codes = self._split(seen, leading)
        tokens = embed_tokens(seen, self.looked_up(seen), self.embedding_size, leading)
        normalized = self._normalize(flatten(numbers, rl2), mask, training)
        return self._encode(jnp.concatenate([normalized, *codes, *tokens], axis=-1))

    def looked_up(self, observation: Mapping[str, Any]) -> Mapping[str, int]:
        """See `TimestepEncoder`.

        Raises:
            ValueError: if no observation holds integers.
        """
        if isinstance(self.vocabulary, Mapping):
            return self.vocabulary
        integers = integer_keys(observation)
        if not integers:
            dtypes = {
                key: str(jax.dtypes.canonicalize_dtype(x.dtype)) for key, x in observation.items()
            }
            raise ValueError(f"TokenEncoder needs an integer observation, but there are {dtypes}")
        return dict.fromkeys(integers, self.vocabulary)
