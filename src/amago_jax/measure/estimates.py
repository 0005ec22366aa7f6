"""What an estimate says: memory, launches, operations and bytes, and the speed that they allow.

A bound on speed is the slowest of three: operations at the published rate, bytes at the memory's
bandwidth, launches one behind another. A run is hardly faster: bytes found in a cache, which are
counted as if there were none, may come sooner, and so may launches that are recorded as a graph.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from amago_jax.measure.compiled import Work
from amago_jax.measure.operations import Operations
from amago_jax.measure.targets import Target


@dataclasses.dataclass(frozen=True)
class Turn:
    """One turn of a loop, on each device: an update, or a step of all its environments.

    Attributes:
        operations: floating-point operations of products, by precision.
        work: launches and bytes; None if the compiler left no loop to read.
        seconds: how long it takes at least, by what takes it: "operations", "bytes", "launches";
            empty where no rates are published.
    """

    operations: Operations
    work: Work | None
    seconds: Mapping[str, float]

    @property
    def bound(self) -> str | None:
        """What takes longest."""
        return max(self.seconds, key=lambda name: self.seconds[name], default=None)

    @property
    def rate(self) -> float | None:
        """Turns a second at most."""
        return None if self.bound is None else 1 / self.seconds[self.bound]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run takes on each device; it prints itself.

    Attributes:
        settings: what is trained.
        target: the device.
        devices: how many.
        seeds: how many are trained side by side.
        envs: environments of one seed, all devices together.
        memory: bytes by name: "learner" (the agent, its targets and its optimizer),
            "environments" (with the policy's memory of them), "replay", "epoch" and "evaluation"
            (what each works with besides), and "total", with the larger of the last two.
        update: one update of every seed.
        step: one step of all environments of every seed.
        drawing: what drawing some first states takes, where resets are expensive; else None. It is
            not in the step, for it is done now and then, see `amago_jax.acting.first_states`.
        measured: the most bytes that two epochs took, if they were run.
    """

    settings: str
    target: Target
    devices: int
    seeds: int
    envs: int
    memory: Mapping[str, float]
    update: Turn
    step: Turn
    drawing: Work | None = None
    measured: float | None = None

    @property
    def fits(self) -> bool:
        """Whether the device has the memory, all of it if need be."""
        return self.memory["total"] <= self.target.memory

    def __str__(self) -> str:
        """Return everything as lines to print."""
        lines = [
            self.settings + (f", {self.seeds} seeds side by side" if self.seeds > 1 else ""),
            f"on each of {self.devices} devices, compiled for {self.target.name} "
            f"({self.target.kind}) by jax {jax.__version__}",
            *(f"{name:>12} {size / 1e9:9.3f} GB" for name, size in self.memory.items()),
            f"{'':>12} {self._verdict()}",
        ]
        if self.measured is not None:
            most = f"{self.measured / 1e9:9.3f} GB, the most that two epochs took"
            lines.append(f"{'measured':>12} {most}")
        lines += _lines("an update", self.update, "updates/s", self.seeds)
        lines += _lines("an acting step", self.step, "steps/s", self.seeds * self.envs)
        if self.drawing is not None:
            lines.append(f"drawing first states, now and then: {self.drawing.total:.4g} launches")
        return "\n".join(lines)

    def row(self) -> dict[str, Any]:
        """Return everything as data, in bytes, operations and seconds on each device."""
        return {
            "settings": self.settings,
            "target": self.target.name,
            "device": self.target.kind,
            "devices": self.devices,
            "seeds": self.seeds,
            "jax": jax.__version__,
            "fits": self.fits,
            "memory": dict(self.memory),
            **({} if self.measured is None else {"measured": self.measured}),
            "update": _row(self.update, "updates/s", self.seeds),
            "acting_step": _row(self.step, "steps/s", self.seeds * self.envs),
            **({} if self.drawing is None else {"drawing_launches": self.drawing.total}),
        }

    def _verdict(self) -> str:
        target, total = self.target, self.memory["total"]
        whole = f"{target.memory / 1e9:.1f} GB"
        if not self.fits:
            return f"does not fit {whole}"
        if total > target.share * target.memory:
            return (
                f"fits {whole}, but not the {target.share:.0%} of it that JAX takes: "
                "set XLA_PYTHON_CLIENT_MEM_FRACTION=0.95"
            )
        return f"fits {whole}"


def make_turn(target: Target, operations: Operations, work: Work | None) -> Turn:
    """Return a turn of a loop with the least time it takes on a device.

    Args:
        target: the device.
        operations: of one turn.
        work: of one turn, if it is known.
    """
    seconds = {}
    if target.rates:
        seconds["operations"] = sum(
            count / target.rates.get(precision, target.rates["highest"])
            for precision, count in operations.items()
        )
    if work is not None and target.bandwidth is not None:
        seconds["bytes"] = work.bytes / target.bandwidth
    if work is not None and target.launch is not None:
        seconds["launches"] = work.total * target.launch
    return Turn(operations, work, seconds)


def _lines(name: str, turn: Turn, unit: str, count: int) -> list[str]:
    """Say what a turn does, and how many of what it counts for a second can have."""
    operations = ", ".join(f"{n / 1e9:.4g} GFLOP {p}" for p, n in turn.operations.items())
    lines = [f"{name}: {operations or 'no products'}"]
    if turn.work is None:
        return [*lines, "    the compiler left no loop to count launches in"]
    kinds = sorted(turn.work.launches.items(), key=lambda item: -item[1])
    lines[0] += f", {turn.work.bytes / 1e6:.4g} MB"
    lines.append(
        f"    {turn.work.total:.4g} launches: " + ", ".join(f"{n:.4g} {kind}" for kind, n in kinds)
    )
    if turn.work.endless:
        lines.append(f"    and {turn.work.endless} inner loops, counted once, as often as it takes")
    if turn.rate is None:
        return [*lines, "    no bound: this device's rates are not published"]
    parts = ", ".join(f"{seconds * 1e6:.4g} us {part}" for part, seconds in turn.seconds.items())
    return [*lines, f"    at most {count * turn.rate:.4g} {unit}, for {turn.bound}: {parts}"]


def _row(turn: Turn, unit: str, count: int) -> dict[str, Any]:
    row: dict[str, Any] = {"operations": dict(turn.operations)}
    if turn.work is not None:
        launches = {kind: round(number, 3) for kind, number in turn.work.launches.items()}
        row |= {"bytes": turn.work.bytes, "launches": turn.work.total, "kinds": launches}
        row |= {"endless": turn.work.endless}
    rate = None if turn.rate is None else count * turn.rate
    return row | {"seconds": dict(turn.seconds), "bound": turn.bound, f"{unit} at most": rate}
