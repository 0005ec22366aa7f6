"""Values that a setting may have, and values that it may not, drawn by Hypothesis."""

import dataclasses
import functools
import math

from hypothesis import strategies as st

from amago_jax.kinds import (
    MOST,
    Either,
    Items,
    Named,
    Nothing,
    OneOf,
    Real,
    Text,
    Truth,
    Whole,
)
from amago_jax.settings import SettingsOf

LARGEST = 3.4028234663852886e38  # of float32
WORDS = st.text("abcdefghijklmnopqrstuvwxyz_/-. 0123456789", min_size=1, max_size=8)
INFINITE = st.sampled_from([math.inf, -math.inf, 1e39, -1e300])
NAN = st.just(math.nan)
HUGE = st.sampled_from([2**63, 10**13, 10**400, -(10**30)])
NO_NUMBERS: st.SearchStrategy = st.one_of(
    st.booleans(), WORDS, st.just([]), st.just([1, 2, 3]), st.just({"a": 1})
)
NO_TRUTHS = st.sampled_from(["yes", "no", "on", "false", "True", 0, 1, 2.5, [True], {"a": True}])
NO_TEXTS = st.sampled_from([5, 2.5, True, [], ["a"], {"a": "b"}])
NO_MAPPINGS = st.sampled_from([5, True, "abc", [1]])


@functools.cache
def valid(kind, most=MOST):
    """Return a strategy of values that fit.

    Args:
        kind: of `amago_jax.kinds`.
        most: whole numbers are no greater, where they may be so small.
    """
    if isinstance(kind, Real):
        return _real(kind)
    if isinstance(kind, Whole):
        return st.integers(kind.low, max(kind.low, min(kind.high, most)))
    if isinstance(kind, Truth):
        return st.booleans()
    if isinstance(kind, Text):
        return WORDS
    if isinstance(kind, OneOf):
        return st.sampled_from(kind.choices)
    if isinstance(kind, Nothing):
        return st.none()
    if isinstance(kind, Either):
        return st.one_of(*(valid(one, most) for one in kind.kinds))
    if isinstance(kind, Items):
        return _items(kind, most)
    if isinstance(kind, Named):
        item = st.integers(0, 9) if kind.item is None else valid(kind.item, most)
        return st.dictionaries(st.text("abc", min_size=1), item, min_size=kind.least, max_size=3)
    assert isinstance(kind, SettingsOf)
    return st.just({})


@functools.cache
def invalid(kind):
    """Return a strategy of values that do not fit."""
    if isinstance(kind, Real):
        return _no_real(kind)
    if isinstance(kind, Whole):
        halves = st.floats(0.25, 0.75).flatmap(lambda x: st.integers(-9, 9).map(lambda n: n + x))
        beyond = st.sampled_from([kind.low - 1, kind.high + 1])
        return st.one_of(beyond, HUGE, halves, NAN, INFINITE, NO_NUMBERS, st.none())
    if isinstance(kind, Truth):
        return NO_TRUTHS | st.none()
    if isinstance(kind, Text):
        return (NO_TEXTS | st.none() | st.just("")) if kind.least else (NO_TEXTS | st.none())
    if isinstance(kind, OneOf):
        return WORDS.map(lambda word: f"no {word}") | NO_TEXTS | st.none()
    if isinstance(kind, Nothing):
        return NO_NUMBERS
    if isinstance(kind, Either):
        # What is wrong to one kind may be right to another.
        return st.one_of(*(invalid(one) for one in kind.kinds)).filter(
            lambda value: not kind.fits(value)
        )
    if isinstance(kind, Items):
        return _no_items(kind)
    if isinstance(kind, Named):
        item = NAN if kind.item is None else invalid(kind.item)
        return NO_MAPPINGS | st.builds(lambda x: {"a": x}, item)
    assert isinstance(kind, SettingsOf)
    return NO_MAPPINGS | st.builds(lambda x: {"a": x}, WORDS)


def _real(kind):
    low = max(kind.low, kind.above, -LARGEST)
    high = min(kind.high, kind.below, LARGEST)
    found = st.floats(
        _up(low) if low == kind.above else low,
        _down(high) if high == kind.below else high,
    ).filter(kind.fits)  # for what float32 rounds to the end of the range
    return found if kind.finite else found | st.just(math.inf).filter(kind.fits)


def _no_real(kind):
    wrong = [NAN, NO_NUMBERS, st.none()]
    if kind.finite:
        wrong += [INFINITE, HUGE.filter(lambda x: abs(x) > LARGEST)]
    lowest, highest = max(kind.low, kind.above), min(kind.high, kind.below)
    if lowest > -math.inf:
        wrong.append(st.floats(-LARGEST, lowest - 1e-3 * max(1, abs(lowest))))
    if highest < math.inf:
        wrong.append(st.floats(highest + 1e-3 * max(1, abs(highest)), LARGEST))
    wrong += [st.just(end) for end in (kind.above, kind.below) if math.isfinite(end)]
    return st.one_of(*wrong)


def _items(kind, most):
    item = st.integers(0, 9) if kind.item is None else valid(kind.item, most)
    listed = kind.listed
    least = listed.exactly if listed.exactly is not None else listed.least
    size = {"min_size": least, "max_size": least if listed.exactly is not None else least + 3}
    if listed.ascending:
        return st.lists(item, unique=True, **size).map(sorted).filter(kind.fits)
    return st.lists(item, unique=listed.different, **size)


def _no_items(kind):
    listed = kind.listed
    whole = valid(dataclasses.replace(kind, listed=dataclasses.replace(listed, least=2)), 9)
    wrong = [st.sampled_from([5, True, "abc", {"a": 1}]), st.none()]
    bad = NAN if kind.item is None else invalid(kind.item)
    wrong.append(st.tuples(whole, bad).map(lambda pair: [pair[1], *pair[0][1:]]))
    if listed.least:
        wrong.append(st.just([]))
    if listed.exactly is not None:
        wrong += [whole.map(lambda values: [*values, values[-1]]), st.just([])]
    if listed.ascending:
        wrong.append(whole.map(lambda values: values[::-1]))
    if listed.different:
        wrong.append(whole.map(lambda values: [*values, values[0]]))
    return st.one_of(*wrong)


def _up(x):
    return math.nextafter(x, math.inf)


def _down(x):
    return math.nextafter(x, -math.inf)
