"""Kinds of values that settings may have, each with the words for it.

They stand beside a type, see `amago_jax.settings`.
"""

import dataclasses
import itertools
import math
import numbers
import struct
from collections.abc import Mapping
from typing import Any

LEAST, MOST = -(2**31), 2**31 - 1  # JAX computes with whole numbers of 32 bits, and with reals
LONGEST = 120  # letters of a value in a sentence


class Kind:
    """What a value may be."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        raise NotImplementedError

    def words(self, value: Any = None) -> str:
        """Say what a value must be, with all that a value which is not would need to be told."""
        raise NotImplementedError

    def plural(self) -> str:
        """Say it of several."""
        return self.words()


@dataclasses.dataclass(frozen=True)
class Real(Kind):
    """A number, whole or not, as float32 holds it.

    Attributes:
        low: the least.
        high: the greatest.
        above: what it must exceed.
        below: what must exceed it.
        finite: whether it must be finite; never may it be NaN.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    finite: bool = True

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return False
        x = _single(value)
        if math.isnan(x) or (self.finite and math.isinf(x)):
            return False
        exceeds = x > _single(self.above) or self.above == -math.inf
        stays = x < _single(self.below) or self.below == math.inf
        return exceeds and stays and _single(self.low) <= x <= _single(self.high)

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        infinite = is_number and self.finite and not math.isfinite(_single(value))
        return f"a {'finite ' * infinite}number{self._range()}"

    def plural(self) -> str:
        """See `Kind`."""
        return f"numbers{self._range()}"

    def _range(self) -> str:
        lower = upper = ""
        if self.low > -math.inf:
            lower = f"{self.low:g}"
        if self.high < math.inf:
            upper = f"{self.high:g}"
        elif self.below < math.inf:
            upper = f"below {self.below:g}"
        if lower and upper:
            return f" from {lower} to {upper}"
        if self.above > -math.inf:
            at_most = upper if self.below < math.inf else f"at most {upper}"
            return f" above {self.above:g}" + (f" and {at_most}" if upper else "")
        if lower:
            return f" of at least {lower}"
        return (f" {upper}" if self.below < math.inf else f" of at most {upper}") if upper else ""


@dataclasses.dataclass(frozen=True)
class Whole(Kind):
    """A whole number that 32 bits hold, unless another range is given.

    Attributes:
        low: the least.
        high: the greatest.
        or_real: whether it may be written as a real number, as in 1e6.
    """

    low: int = LEAST
    high: int = MOST
    or_real: bool = False

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        if self.or_real and isinstance(value, float) and value.is_integer():
            value = int(value)
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        too_large = is_number and not LEAST <= value <= MOST
        return f"a whole number{self._range(both=too_large)}"

    def plural(self) -> str:
        """See `Kind`."""
        return f"whole numbers{self._range(both=False)}"

    def _range(self, both: bool) -> str:
        if both or (self.low > LEAST and self.high != MOST):
            return f" from {self.low} to {self.high}"
        if self.low > LEAST:
            return f" of at least {self.low}"
        return f" of at most {self.high}" if self.high < MOST else ""


@dataclasses.dataclass(frozen=True)
class Truth(Kind):
    """True or false, and no word that stands for one."""

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, bool)

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        return "true or false"


@dataclasses.dataclass(frozen=True)
class Text(Kind):
    """A text.

    Attributes:
        least: letters.
    """

    least: int = 0

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        return isinstance(value, str) and len(value) >= self.least

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        return "a text" + " that is not empty" * (self.least > 0)

    def plural(self) -> str:
        """See `Kind`."""
        return "texts"


@dataclasses.dataclass(frozen=True)
class OneOf(Kind):
    """One of some values, most often names.

    Attributes:
        choices: the values.
    """

    choices: tuple[Any, ...]

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        return any(type(value) is type(one) and value == one for one in self.choices)

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        return f"one of {', '.join(map(str, self.choices))}"


@dataclasses.dataclass(frozen=True)
class Nothing(Kind):
    """None, which configurations write as null."""

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        return value is None

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        return "null"


@dataclasses.dataclass(frozen=True)
class Either(Kind):
    """Whatever one of some kinds takes."""

    kinds: tuple[Kind, ...]

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        return any(kind.fits(value) for kind in self.kinds)

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        *others, last = [kind.words(value) for kind in self.kinds]
        return f"{', '.join(others)}, or {last}" if others else last


@dataclasses.dataclass(frozen=True)
class Listed:
    """How the items of a list stand together.

    Attributes:
        least: how many there are at least.
        exactly: how many there are; None: any number.
        ascending: each is greater than the one before.
        different: no two are equal.
    """

    least: int = 0
    exactly: int | None = None
    ascending: bool = False
    different: bool = False


@dataclasses.dataclass(frozen=True)
class Items(Kind):
    """A list of values of one kind.

    Attributes:
        item: the kind; None: any.
        listed: how they stand together.
    """

    item: Kind | None
    listed: Listed = Listed()

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        listed = self.listed
        if not isinstance(value, list | tuple) or len(value) < listed.least:
            return False
        if listed.exactly is not None and len(value) != listed.exactly:
            return False
        if not all(_is_sane(x) if self.item is None else self.item.fits(x) for x in value):
            return False
        if listed.different and len(set(value)) < len(value):
            return False
        neighbours = itertools.pairwise(map(_single, value)) if listed.ascending else ()
        return all(a < b for a, b in neighbours)

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        listed = self.listed
        many = "values" if self.item is None else self.item.plural()
        number = f"{listed.exactly} " if listed.exactly is not None else ""
        different = "different " if listed.different else ""
        least = f", at least {listed.least}" if listed.least else ""
        end = ", each greater than the one before" if listed.ascending else ""
        return f"a list of {number}{different}{many}{least}{end}"

    def plural(self) -> str:
        """See `Kind`."""
        return f"lists{self.words().removeprefix('a list')}"


@dataclasses.dataclass(frozen=True)
class Named(Kind):
    """Values of one kind by name.

    Attributes:
        item: the kind; None: any.
        least: how many there are at least.
    """

    item: Kind | None
    least: int = 0

    def fits(self, value: Any) -> bool:
        """See `Kind`."""
        if not isinstance(value, Mapping) or len(value) < self.least:
            return False
        return all(
            isinstance(name, str) and (_is_sane(x) if self.item is None else self.item.fits(x))
            for name, x in value.items()
        )

    def words(self, value: Any = None) -> str:
        """See `Kind`."""
        item = "a value, finite if it is a number" if self.item is None else self.item.words()
        return f"{{name: {item}, ...}}"


def show(value: Any) -> str:
    """Return a value as it is shown in a sentence."""
    shown = repr(list(value) if isinstance(value, tuple) else value)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def _single(value: Any) -> float:
    """Return a number as float32 holds it."""
    try:
        single: float = struct.unpack("f", struct.pack("f", float(value)))[0]
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return single


def _is_sane(value: Any) -> bool:
    """Whether a value holds no number that is not finite."""
    if isinstance(value, Mapping):
        return all(map(_is_sane, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_sane, value))
    return not isinstance(value, numbers.Real) or math.isfinite(_single(value))
