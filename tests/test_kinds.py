"""What a setting may be: kinds read off annotations, and the sentence where a value is none."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import hypothesis
import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_jax.errors import ConfigError
from amago_jax.kinds import Listed, Real, Whole
from amago_jax.settings import (
    Names,
    Seed,
    SettingsOf,
    Share,
    Size,
    check,
    check_fields,
    check_part,
    checked,
    forwards,
    kind_of,
    signature_of,
)
from values import invalid, valid


@dataclasses.dataclass(frozen=True)
class Part:
    size: Size
    share: Share = 0.5
    limit: float = math.inf
    after: Callable[[int], int] | None = None

    def __post_init__(self):
        check_fields(self)


@forwards(Part, but=("limit",))
def make_part(name: str, /, *, share: Share = 0.25, **settings: Any) -> Part:
    return Part(share=share, **settings)


KINDS = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "choice": Literal["a", "b"],
    "share": Share,
    "seed": Seed,
    "size or nothing": Size | None,
    "above": Annotated[float, Real(above=0, below=1)],
    "infinite": Annotated[float, Real(0, finite=False)],
    "range": Annotated[int, Whole(2, 1000)],
    "names": Names,
    "pair": tuple[Share, Share],
    "ascending": Annotated[tuple[Share, ...], Listed(least=1, ascending=True)],
    "different": Size | Annotated[tuple[Seed, ...], Listed(least=1, different=True)] | None,
    "mapping": Mapping[str, Size],
    "anything by name": Mapping[str, Any] | None,
    "lists by name": dict[str, list[Size]],
    "of a part": SettingsOf(Part),
}


@pytest.mark.parametrize("annotation", KINDS.values(), ids=KINDS)
@hypothesis.settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_fits_passes_and_all_else_is_said_in_a_sentence(annotation, data):
    kind = kind_of(annotation)
    if not isinstance(annotation, SettingsOf):
        check("x", data.draw(valid(kind)), annotation)
    with pytest.raises(ConfigError, match=r"^x\b") as caught:
        check("x", data.draw(invalid(kind)), annotation)
    assert "\n" not in str(caught.value)


SENTENCES: list[tuple[Any, Any, str]] = [
    (Share, 2, "x=2 must be a number from 0 to 1"),
    (Share, math.nan, "x=nan must be a finite number from 0 to 1"),
    (Annotated[float, Real(0, below=1)], 0.999999999, "must be a number from 0 to below 1"),
    (Annotated[float, Real(above=0, high=1)], 1e-60, "must be a number above 0 and at most 1"),
    (Annotated[float, Real(high=0)], 1, "x=1 must be a number of at most 0"),
    (float, 1e39, "must be a finite number$"),
    (Size, True, "x=True must be a whole number of at least 1"),
    (Size, 10**13, "must be a whole number from 1 to 2147483647"),
    (Size | None, "3", "x='3' must be a whole number of at least 1, or null"),
    (Seed, 2**32, "x=4294967296 must be a whole number from 0 to 4294967295"),
    (bool, "yes", "x='yes' must be true or false"),
    (tuple[Share, Share], [1, 2, 3], r"x=\[1, 2, 3\] must be a list of 2 numbers from 0 to 1"),
    (Names, "ab", "x='ab' must be a list of texts, at least 1"),
    (Literal["a", "b"], "c", "x='c' must be one of a, b"),
    (Mapping[str, Size], {"k": 0}, r"x\['k'\]=0 must be a whole number of at least 1"),
    (SettingsOf(Part), {"size": 0}, r"x\.size=0 must be"),
    (SettingsOf(Part), {"sise": 1}, r"x has no setting 'sise' \(=1\): did you mean size"),
    (SettingsOf(Part), {}, r"x\.size is missing, a whole number of at least 1"),
]


@pytest.mark.parametrize(("annotation", "value", "sentence"), SENTENCES)
def test_sentences_say_what_would_work(annotation, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check("x", value, annotation)


@pytest.mark.parametrize(
    "annotation", [Any, Callable[[int], int], "Unknown", Part | None, tuple[Part, ...], Sequence]
)
def test_annotations_that_say_nothing_of_the_kind_are_not_looked_at(annotation):
    assert kind_of(annotation) is None
    check("x", object(), annotation)


def test_a_default_is_right_whatever_its_annotation_says():
    assert Part(3).limit == Part(3, limit=math.inf).limit == math.inf
    check_part(Part, {"size": 3, "limit": math.inf})
    for wrong in ({"limit": -math.inf}, {"size": 2.0}, {"share": True}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Part(**{"size": 3} | wrong)


def test_a_function_checks_what_it_is_called_with():
    @checked
    def half(size: Size = 4, *, of: object = None) -> float:
        return size / 2

    assert (half(), half(6), half(size=8, of=half)) == (2, 3, 4)
    with pytest.raises(ConfigError, match="size=0 must"):
        half(0)
    assert set(signature_of(half).settings) == {"size", "of"}


def test_a_functions_settings_are_its_own_and_those_it_forwards():
    for part in (make_part, functools.partial(make_part, "a")):
        found = signature_of(part)
        assert {name: one.default for name, one in found.settings.items() if name != "size"} == {
            "share": 0.25,
            "after": None,
        }
        assert not found.is_open
    check_part(make_part, {"size": 1, "share": 0.0})
    with pytest.raises(ConfigError, match="make_part has no setting 'limit'"):
        check_part(make_part, {"size": 1, "limit": 1.0})
    check_part(make_part, {}, told=["size"])
    check_part(make_part, {}, given=["size"])
    with pytest.raises(ConfigError, match="has no setting 'size'"):
        check_part(make_part, {"size": 1}, given=["size"])
    assert signature_of(lambda **settings: settings).is_open
    assert signature_of(dict).is_open  # which has no signature to read


def test_seeds_are_as_many_as_keys():
    def same(a, b):
        first, second = (jax.random.key_data(jax.random.key(seed)) for seed in (a, b))
        return bool((first == second).all())

    assert same(2**32 + 5, 5)
    assert same(-1, 2**32 - 1)
    assert not same(2**32 - 1, 2**31 - 1)
