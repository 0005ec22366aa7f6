"""What each backend of attention can serve: the table, and the sentence on what it cannot."""

import dataclasses

from amago_jax.models.attention.sight import Sight


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a backend takes; by default everything.

    Attributes:
        platforms: of JAX; none: all.
        dtypes: of queries, keys and values; none: all.
        length: the longest windows; None: any.
        head_width: the widest heads; None: any.
        window: whether a timestep's sight may be bounded.
        sink: whether the segment's first timesteps may stay in sight.
        clip: whether scores may be capped.
    """

    platforms: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    length: int | None = None
    head_width: int | None = None
    window: bool = True
    sink: bool = True
    clip: bool = True


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a backend is to serve.

    Attributes:
        platform: of JAX.
        dtype: of queries, keys and values.
        length: timesteps in a window.
        head_width: E.
        sight: what a timestep sees.
    """

    platform: str
    dtype: str
    length: int
    head_width: int
    sight: Sight


LIMITS = {
    "dense": Limits(),
    "blocks": Limits(),
    "pallas": Limits(
        platforms=("gpu",),
        dtypes=("float32", "bfloat16"),
        head_width=256,
        window=False,
        sink=False,
        clip=False,
    ),
    # What is in sight reaches it as a mask, which grows with the square of the length.
    "cudnn": Limits(
        platforms=("gpu",), dtypes=("bfloat16",), length=4096, head_width=128, clip=False
    ),
    "splash": Limits(platforms=("tpu",), dtypes=("float32", "bfloat16"), sink=False),
}


def refusal(name: str, wanted: Wanted) -> str | None:
    """Say which setting a backend cannot serve and what it takes; None if it can serve.

    Args:
        name: in `LIMITS`.
        wanted: what it is to serve.
    """
    limits, sight = LIMITS[name], wanted.sight
    longest, widest = limits.length, limits.head_width
    checks = {
        f"platform={wanted.platform}, only {', '.join(limits.platforms)}": limits.platforms
        and wanted.platform not in limits.platforms,
        f"dtype={wanted.dtype}, only {', '.join(limits.dtypes)}": limits.dtypes
        and wanted.dtype not in limits.dtypes,
        f"windows of {wanted.length} timesteps, only up to {longest}": longest is not None
        and wanted.length > longest,
        f"heads of width {wanted.head_width}, only up to {widest}": widest is not None
        and wanted.head_width > widest,
        f"window={sight.window}, only null": sight.window is not None and not limits.window,
        f"sink={sight.sink}, only 0": sight.sink and not limits.sink,
        f"logit_clip={sight.clip}, only null": sight.clip is not None and not limits.clip,
    }
    return next((sentence for sentence, fails in checks.items() if fails), None)
