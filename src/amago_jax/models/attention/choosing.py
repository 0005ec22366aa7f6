"""Which backend of attention serves a run: as it is named, or the best there is."""

import dataclasses

from amago_jax.errors import suggest
from amago_jax.models.attention.blocks import LONG
from amago_jax.models.attention.limits import LIMITS, Wanted, refusal

AUTO = "auto"
# The fused kernel of each platform: no array of scores in the device's memory, few launches.
FUSED = {"gpu": "pallas", "tpu": "splash"}


@dataclasses.dataclass(frozen=True)
class Choice:
    """A backend by name, and why it was chosen."""

    name: str
    reason: str


def choose(name: str, wanted: Wanted) -> Choice:
    """Choose a backend, or see whether the one that is named can serve.

    Args:
        name: "auto", or a name in `LIMITS`.
        wanted: what it is to serve.

    Raises:
        ValueError: if there is no such backend, or it cannot serve.
    """
    if name == AUTO:
        return _best(wanted)
    if name not in LIMITS:
        raise ValueError(f"attention={name!r} does not exist; {suggest(name, [AUTO, *LIMITS])}")
    refused = refusal(name, wanted)
    if refused is not None:
        others = [other for other in LIMITS if refusal(other, wanted) is None]
        raise ValueError(
            f"attention={name} does not take {refused}; "
            f"choose attention={AUTO}, or one of {', '.join(others)}"
        )
    return Choice(name, "as it is set")


def _best(wanted: Wanted) -> Choice:
    fused = FUSED.get(wanted.platform)
    refused = None if fused is None else refusal(fused, wanted)
    if fused is not None and refused is None:
        return Choice(fused, f"the fused kernel for platform={wanted.platform}")
    long = wanted.length >= LONG
    plain = (
        f"windows of {wanted.length} timesteps are {'not ' * (not long)}as long as {LONG}, "
        f"from where on blocks are better on platform={wanted.platform}"
    )
    reason = plain if refused is None else f"{fused} does not take {refused}, and {plain}"
    return Choice("blocks" if long else "dense", reason)
