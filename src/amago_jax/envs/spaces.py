"""What a policy may do in an environment, as far as a policy needs to know."""

import dataclasses
from typing import ClassVar, Literal


@dataclasses.dataclass(frozen=True)
class DiscreteActions:
    """One of ``count`` actions, an int32 scalar in [0, count)."""

    kind: ClassVar[Literal["discrete"]] = "discrete"
    count: int

    @property
    def size(self) -> int:
        """A, the number of actions."""
        return self.count


@dataclasses.dataclass(frozen=True)
class ContinuousActions:
    """A float32 vector ``[size]`` in [-1, 1], whatever the environment's own bounds are."""

    kind: ClassVar[Literal["continuous"]] = "continuous"
    size: int


@dataclasses.dataclass(frozen=True)
class BinaryActions:
    """A float32 vector ``[size]`` of 0.0 and 1.0: several buttons, each pressed or not."""

    kind: ClassVar[Literal["binary"]] = "binary"
    size: int


ActionSpace = DiscreteActions | ContinuousActions | BinaryActions
