"""What a timestep sees of its segment, and how scores are kept in bounds."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sight:
    """What all backends of attention are told, beside the segments.

    Attributes:
        window: if given, a timestep sees only the last so many timesteps, itself included.
        sink: the segment's first so many timesteps stay in sight of all that follow.
        clip: if given, scores go through clip * tanh(score / clip).
    """

    window: int | None = None
    sink: int = 0
    clip: float | None = None
