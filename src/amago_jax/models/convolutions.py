"""Convolutional timestep encoders for images, and the augmentation of images."""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict

from amago_jax.kinds import Listed, Whole
from amago_jax.models.layers import (
    ActivationName,
    Linear,
    activation,
    follow_input,
    uniform_fan_in,
)
from amago_jax.models.normalization import Norm, Normalization, check_normalization
from amago_jax.models.symlog import symlog
from amago_jax.models.timestep_encoders import (
    TimestepEncoder,
    embed_tokens,
    flatten,
    one_hot,
)
from amago_jax.settings import Share, Size, check_fields
from amago_jax.types import Array

# Of each convolution.
Sizes = Annotated[tuple[Size, ...], Listed(least=1)]


class ImageEncoder(TimestepEncoder, kw_only=True):
    """Convolve the images, map the rest linearly, and merge both; subclasses say how to convolve.

    An observation of three axes is an image, height by width by channels; each of its channels is
    as many as there are codes, if it holds codes. Several images are concatenated along their
    channels. Other observations join the meta-RL input, whose symlog is
    mapped to a few features; but tokens, such as an instruction's words, are looked up in tables.

    Source: AMAGO, section 3 ("timestep encoder"); augmentation after Yarats et al. 2021, arXiv
    2107.09645.

    Attributes:
        output_size: width E of the output.
        image_features: features of the images before merging.
        rl2_features: features of the meta-RL input and what joins it before merging.
        vocabulary: number of tokens by key, of the integer observations that are looked up.
        embedding_size: width of a token's vector.
        activation: name of the activation.
        normalization: what the norm of the output does, see
            `amago_jax.models.normalization.Norm`; group norms of convolutions stay.
        augmented_share: chance of a row of the batch to be shifted at random, in training; 0 is
            off, the paper's is 0.75.
        augmentation_pad: the farthest shift, in pixels.
    """

    output_size: Size = 256
    image_features: Size = 256
    rl2_features: Size = 12
    vocabulary: Mapping[str, Size] = FrozenDict()
    embedding_size: Size = 32
    activation: ActivationName = "leaky_relu"
    normalization: Normalization = "layer"
    augmented_share: Share = 0.0
    augmentation_pad: Annotated[int, Whole(0, 1000)] = 4

    def __post_init__(self) -> None:
        """Check the settings, and make the vocabulary hashable."""
        if isinstance(self.vocabulary, Mapping):
            self.vocabulary = FrozenDict(self.vocabulary)
        super().__post_init__()
        check_normalization(self.normalization, output_size=self.output_size)

    @nn.compact
    def __call__(
        self, observation: dict[str, Array], rl2: Array, mask: Array, training: bool = False
    ) -> Array:
        """See `TimestepEncoder`; nothing here depends on other timesteps.

        Raises:
            ValueError: if an observation key does not exist, no observation is an image, images
                differ in size or are too small to convolve, or a key of the vocabulary holds no
                integers.
        """
        leading = rl2.shape[:-1]
        seen, rl2 = self.visible(observation, rl2)
        for key, count in self.code_counts(seen).items():
            x = seen[key]
            seen[key] = one_hot(x if x.ndim > len(leading) else x[..., None], count)
        images, others = split_images(seen, len(leading))
        pixels = stack_images(images)
        self._check_size(*pixels.shape[-3:-1])
        if training and self.augmented_share > 0.0:
            pixels = self._augment(pixels, leading)
        # Convolutions know a single batch axis.
        maps = self.convolve(pixels.reshape(-1, *pixels.shape[-3:]).astype(self.dtype))
        image = Linear(self.image_features, name="image")(maps.reshape(*leading, -1))
        tokens = embed_tokens(others, self.vocabulary, self.embedding_size, len(leading))
        numbers = {key: x for key, x in others.items() if key not in self.vocabulary}
        inputs = symlog(flatten(numbers, rl2)).astype(self.dtype)
        rest = Linear(self.rl2_features, name="rl2")(inputs)
        merged = jnp.concatenate([image, rest, *tokens], axis=-1, dtype=self.dtype)
        merged = activation(self.activation)(merged)
        output = Linear(self.output_size, name="merge")(merged)
        return Norm(self.normalization, name="output_norm")(output)

    def looked_up(self, observation: Mapping[str, Any]) -> Mapping[str, int]:
        """See `TimestepEncoder`."""
        return self.vocabulary

    def _plainly(self, array: jax.ShapeDtypeStruct) -> str:
        return "as pixels" if array.dtype == jnp.uint8 and len(array.shape) == 3 else "as numbers"

    def convolve(self, x: Array) -> Array:
        """Map scaled pixels ``[N, H, W, C]`` to feature maps ``[N, H', W', F]``."""
        raise NotImplementedError

    @property
    def least_size(self) -> int:
        """The least height and width that `convolve` can take."""
        raise NotImplementedError

    def _check_size(self, height: int, width: int) -> None:
        least = self.least_size
        if min(height, width) < least:
            raise ValueError(
                f"images of {height}x{width} are too small for {type(self).__name__}, "
                f"which needs at least {least}x{least}"
            )

    def _augment(self, pixels: Array, leading: tuple[int, ...]) -> Array:
        # A window moves as one: a picture that jumped between timesteps would look like motion.
        rows = leading[0] if leading else 1
        shifts = draw_shifts(
            self.make_rng("augmentation"),
            rows,
            share=self.augmented_share,
            pad=self.augmentation_pad,
        )
        by_row = pixels.reshape(rows, -1, *pixels.shape[-3:])
        return shift_images(by_row, shifts).reshape(pixels.shape)


class NatureEncoder(ImageEncoder, kw_only=True):
    """Convolutions with strides, each followed by the activation, without padding.

    Source: Mnih et al. 2015, "Human-level control through deep reinforcement learning".

    Attributes:
        channels: output channels of each convolution.
        kernels: its height and width.
        strides: its stride.

    Raises:
        ValueError: if the three differ in length.
    """

    channels: Sizes = (32, 64, 64)
    kernels: Sizes = (8, 4, 3)
    strides: Sizes = (4, 2, 1)

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        sizes = {name: tuple(getattr(self, name)) for name in ("channels", "kernels", "strides")}
        for name, values in sizes.items():
            setattr(self, name, values)
        if len({len(values) for values in sizes.values()}) > 1:
            raise ValueError(
                f"{', '.join(f'{k}={list(v)}' for k, v in sizes.items())} must be of one length"
            )
        super().__post_init__()

    def convolve(self, x: Array) -> Array:
        """Map scaled pixels ``[N, H, W, C]`` to feature maps ``[N, H', W', F]``."""
        act = activation(self.activation)
        layers = zip(self.channels, self.kernels, self.strides, strict=True)
        for index, (channels, kernel, stride) in enumerate(layers):
            convolution = Convolution(channels, kernel, stride, "VALID", name=f"conv_{index}")
            x = act(convolution(x))
        return x

    @property
    def least_size(self) -> int:
        """The size whose last feature map is a single pixel."""
        size = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            size = (size - 1) * stride + kernel
        return size


class GridworldEncoder(NatureEncoder, kw_only=True):
    """Small convolutions without strides, for gridworlds of a few cells a side.

    Source: sizes as in the authors' implementation of AMAGO.
    """

    channels: Sizes = (16, 32, 48)
    kernels: Sizes = (2, 2, 2)
    strides: Sizes = (1, 1, 1)


class ImpalaEncoder(ImageEncoder, kw_only=True):
    """Blocks of a convolution, pooling to half the size, and two residual blocks.

    Source: Espeholt et al. 2018, arXiv 1802.01561, the larger network, with group norms as in the
    authors' implementation of AMAGO.

    Attributes:
        channels: channels of each block.
        groups: groups of channels that are normalized together.

    Raises:
        ValueError: if a number of channels is not divisible into the groups.
    """

    channels: Sizes = (16, 32, 32)
    groups: Size = 4

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        self.channels = tuple(self.channels)
        if any(channels % self.groups for channels in self.channels):
            raise ValueError(
                f"channels={list(self.channels)} must be divisible by groups={self.groups}"
            )
        super().__post_init__()

    def convolve(self, x: Array) -> Array:
        """Map scaled pixels ``[N, H, W, C]`` to feature maps ``[N, H', W', F]``."""
        for index, channels in enumerate(self.channels):
            x = Convolution(channels, 3, 1, "SAME", name=f"conv_{index}")(x)
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
            for place in range(2):
                block = ResidualBlock(self.groups, self.activation, name=f"block_{index}_{place}")
                x = block(x)
        return activation(self.activation)(x)

    @property
    def least_size(self) -> int:
        """1: everything is padded."""
        return 1


class ResidualBlock(nn.Module):
    """x plus two convolutions of it, each behind a group norm and the activation.

    Attributes:
        groups: groups of channels that are normalized together.
        activation: name of the activation.
    """

    groups: int
    activation: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[N, H, W, C]`` to the same shape."""
        act = activation(self.activation)
        y = x
        for index in range(2):
            norm = nn.GroupNorm(self.groups, epsilon=1e-5, dtype=x.dtype, name=f"norm_{index}")
            y = norm(y)
            y = Convolution(x.shape[-1], 3, 1, "SAME", name=f"conv_{index}")(act(y))
        return x + y


class Convolution(nn.Module):
    """A square convolution with bias, started as PyTorch starts it, see `uniform_fan_in`."""

    channels: int
    kernel: int
    stride: int
    padding: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[N, H, W, C]`` to ``[N, H', W', channels]``."""
        init = uniform_fan_in(self.kernel**2 * x.shape[-1])
        convolution = nn.Conv(
            self.channels,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            padding=self.padding,
            kernel_init=init,
            bias_init=init,
            promote_dtype=follow_input,
            name="conv",
        )
        return convolution(x).astype(x.dtype)


def split_images(
    observation: Mapping[str, Array], leading: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Tell images from the rest by their three axes behind the ``leading`` ones.

    Raises:
        ValueError: if there is no image.
    """
    images = {key: x for key, x in observation.items() if x.ndim == leading + 3}
    if not images:
        shapes = {key: x.shape[leading:] for key, x in observation.items()}
        raise ValueError(
            f"no observation is an image [height, width, channels]; their shapes are {shapes}"
        )
    return images, {key: x for key, x in observation.items() if key not in images}


def stack_images(images: Mapping[str, Array]) -> Array:
    """Scale images and concatenate their channels, in alphabetical order of their keys.

    Bytes become pixels/128 - 1; numbers of other kinds (MinAtar's are 0 or 1) stay what they are.

    Args:
        images: arrays ``[..., H, W, C]`` by key, alike but for C.

    Returns:
        float32 ``[..., H, W, C]``, C the sum of the channels.

    Raises:
        ValueError: if height or width differ.
    """
    sizes = {key: images[key].shape[-3:-1] for key in sorted(images)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"images must be of one height and width to be seen together, not {sizes}")
    return jnp.concatenate([_scale(images[key]) for key in sizes], axis=-1)


def _scale(image: Array) -> Array:
    pixels = image.astype(jnp.float32)
    return pixels / 128.0 - 1.0 if image.dtype == jnp.uint8 else pixels


def draw_shifts(key: Array, rows: int, *, share: float, pad: int) -> Array:
    """Draw how far to shift each row's images.

    Args:
        key: a random key.
        rows: B.
        share: chance of a row to be shifted at all.
        pad: the farthest shift, in pixels.

    Returns:
        int32 ``[B, 2]``, vertical and horizontal, each uniform on [-pad, pad] or both 0.
    """
    key_chosen, key_shift = jax.random.split(key)
    chosen = jax.random.bernoulli(key_chosen, share, (rows, 1))
    shifts = jax.random.randint(key_shift, (rows, 2), -pad, pad + 1)
    return jnp.where(chosen, shifts, 0)


def shift_images(images: Array, shifts: Array) -> Array:
    """Shift images, repeating their edges: a crop of the edge-padded image.

    Args:
        images: ``[B, T, H, W, C]``.
        shifts: int32 ``[B, 2]``, vertical and horizontal, one for all T images of a row.

    Returns:
        ``[B, T, H, W, C]``; the pixel at (y, x) is the one that was at (y, x) + shift, or the
        edge's where there was none.
    """
    _, _, height, width, _ = images.shape

    def shift_row(row: Array, shift: Array) -> Array:
        # Clamped places stand for the padding, which is never built.
        ys = jnp.clip(jnp.arange(height) + shift[0], 0, height - 1)
        xs = jnp.clip(jnp.arange(width) + shift[1], 0, width - 1)
        return row[:, ys][:, :, xs]

    return jax.vmap(shift_row)(images, shifts)
