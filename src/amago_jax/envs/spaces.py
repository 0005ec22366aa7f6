"""What a policy may do in an environment, as far as a policy needs to know."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DiscreteActions:
    """One of ``count`` actions, an int32 scalar in [0, count)."""

    count: int

    @property
    def size(self) -> int:
        """A, the number of actions."""
        return self.count


@dataclasses.dataclass(frozen=True)
class ContinuousActions:
    """A float32 vector ``[size]`` in [-1, 1], whatever the environment's own bounds are."""

    size: int
