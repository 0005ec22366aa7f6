"""What a setting may be: said once, where it is annotated, and used to check and to describe it.

A part annotates its settings in its signature, as in ``dropout: Annotated[float, Real(0, 1)] = 0``.
Plain types say what they mean: a ``float`` is finite, an ``int`` whole and neither true nor false,
a ``bool`` no word that stands for one. What is annotated with anything else is not looked at.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from amago_jax.errors import ConfigError, suggest
from amago_jax.kinds import (
    Either,
    Items,
    Kind,
    Listed,
    Named,
    Nothing,
    OneOf,
    Real,
    Text,
    Truth,
    Whole,
    show,
)

P = ParamSpec("P")
R = TypeVar("R")
Part = Callable[..., Any]
AnyPart = TypeVar("AnyPart", bound=Part)

Size = Annotated[int, Whole(1)]
Count = Annotated[int, Whole(0)]
# Layers, which are built one by one: of a billion, there would be no end.
Depth = Annotated[int, Whole(1, 1000)]
HiddenLayers = Annotated[int, Whole(0, 1000)]
# What `jax.random.key` tells apart: of another whole number it takes the last 32 bits.
Seed = Annotated[int, Whole(0, 2**32 - 1)]
Share = Annotated[float, Real(0, 1)]
Positive = Annotated[float, Real(above=0)]
NotNegative = Annotated[float, Real(0)]
Name = Annotated[str, Text(least=1)]
Names = Annotated[tuple[Name, ...], Listed(least=1)]
Label = Name | float  # Hydra reads a label of digits as a number

REQUIRED: Any = inspect.Parameter.empty
_FORWARDS = "_forwards_settings"
_PLAIN: dict[Any, Kind] = {
    bool: Truth(),
    int: Whole(),
    float: Real(),
    str: Text(),
    None: Nothing(),
    NoneType: Nothing(),
}
_LISTS = (tuple, list, Sequence)
_MAPPINGS = (dict, Mapping)


@dataclasses.dataclass(frozen=True)
class SettingsOf(Kind):
    """Further settings by name: those of a part.

    Attributes:
        part: whose settings they are.
        given: those that are none, for they come from elsewhere.
    """

    part: Part
    given: tuple[str, ...] = ()

    def fits(self, value: Any) -> bool:
        """Whether all of them fit."""
        if not isinstance(value, Mapping):
            return False
        try:
            check_part(self.part, value, given=self.given)
        except ConfigError:
            return False
        return True

    def words(self, value: Any = None) -> str:
        """Say whose settings they are."""
        return f"settings by name, of {self.part.__name__}"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting of a part.

    Attributes:
        annotation: what it may be, see `kind_of`.
        default: what it is unless it is given; `REQUIRED`: nothing.
        part: the function or class in whose signature it is.
    """

    annotation: Any
    default: Any
    part: Part


@dataclasses.dataclass(frozen=True)
class Signature:
    """All settings of a part.

    Attributes:
        settings: by name.
        is_open: whether it takes others as well.
    """

    settings: dict[str, Setting]
    is_open: bool


def kind_of(annotation: Any) -> Kind | None:
    """Return what an annotation says that a value may be; None if it says nothing of the kind."""
    try:
        return _kind_of(annotation)
    except TypeError:  # it cannot be hashed, and so is none of ours
        return None


@functools.cache
def _kind_of(annotation: Any) -> Kind | None:
    if isinstance(annotation, Kind):
        return annotation
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _annotated(kind_of(arguments[0]), arguments[1:])
    if origin is Literal:
        return OneOf(arguments)
    if origin in (typing.Union, UnionType):
        kinds = [kind_of(one) for one in arguments]
        return Either(tuple(kind for kind in kinds if kind)) if all(kinds) else None
    if origin in _LISTS and arguments:
        return _items(origin, arguments)
    if origin in _MAPPINGS and arguments[0] is str:
        return Named(kind_of(arguments[1])) if _is_known(arguments[1]) else None
    return None


def _annotated(kind: Kind | None, metadata: tuple[Any, ...]) -> Kind | None:
    for data in metadata:
        if isinstance(data, Kind):
            kind = data
        elif isinstance(data, Listed) and isinstance(kind, Items):
            kind = dataclasses.replace(kind, listed=data)
    return kind


def _items(origin: Any, arguments: tuple[Any, ...]) -> Kind | None:
    fixed = origin is tuple and arguments[-1] is not ...
    if len(set(arguments[: None if fixed else 1])) != 1 or not _is_known(arguments[0]):
        return None
    return Items(kind_of(arguments[0]), Listed(exactly=len(arguments)) if fixed else Listed())


def _is_known(annotation: Any) -> bool:
    return annotation is Any or kind_of(annotation) is not None


def check(name: str, value: Any, annotation: Any) -> None:
    """Check that a value is what an annotation says.

    Args:
        name: of the setting.
        value: its value, lists and mappings being plain ones.
        annotation: see `kind_of`; of one that says nothing, every value is right.

    Raises:
        ConfigError: if it is not, which is a ValueError.
    """
    kind = kind_of(annotation)
    if kind is None:
        return
    if kind.fits(value):
        return
    if isinstance(value, Mapping):  # the sentence of what is wrong in it
        kinds = kind.kinds if isinstance(kind, Either) else (kind,)
        kind = next((one for one in kinds if isinstance(one, SettingsOf | Named)), kind)
        if isinstance(kind, SettingsOf):
            check_part(kind.part, value, of=name, prefix=f"{name}.", given=kind.given)
        if isinstance(kind, Named):
            for key, one in value.items():
                check(f"{name}[{key!r}]", one, Any if kind.item is None else kind.item)
    raise ConfigError(f"{name}={show(value)} must be {kind.words(value)}")


def check_table(settings: Mapping[str, Any], table: Mapping[str, Any]) -> None:
    """Check settings against a table of annotations, both by name.

    Raises:
        ConfigError: if one is not what its annotation says.
    """
    for name, annotation in table.items():
        check(name, settings[name], annotation)


def as_names(value: str | Iterable[str]) -> list[str]:
    """Return a setting that is a name or several, ``Name | Names``, as a list."""
    return [value] if isinstance(value, str) else list(value)


def check_part(
    part: Part,
    settings: Mapping[str, Any],
    *,
    of: str = "",
    prefix: str = "",
    given: Collection[str] = (),
    told: Collection[str] = (),
    beside: Collection[str] = (),
) -> None:
    """Check all settings of a part before it is made.

    Args:
        part: a function or a class.
        settings: by name.
        of: what the part is called.
        prefix: what stands before a setting's name.
        given: names of arguments that are no settings, for they come from elsewhere.
        told: names of settings that need not be given, for they come from elsewhere then.
        beside: names of settings that are looked at elsewhere, to suggest them for a slip.

    Raises:
        ConfigError: if one does not exist, is not what it must be, or is missing.
    """
    signature = signature_of(part)
    known = {name: one for name, one in signature.settings.items() if name not in given}
    for name, value in settings.items():
        if name in known:
            if not _is_default(value, known[name].default):
                check(f"{prefix}{name}", value, known[name].annotation)
        elif name in given or not signature.is_open:
            raise ConfigError(
                f"{of or part.__name__} has no setting {str(name)!r} (={show(value)}): "
                f"{suggest(str(name), {*known, *beside})}"
            )
    for name, one in known.items():
        if one.default is REQUIRED and name not in settings and name not in told:
            kind = kind_of(one.annotation)
            wanted = f", {kind.words()}" if kind else ""
            raise ConfigError(f"{prefix}{name} is missing{wanted}")


def check_fields(part: Any) -> None:
    """Check the fields of a dataclass, to be called when it is made.

    Raises:
        ConfigError: if one is not what its annotation says.
    """
    made: Any = type(part)
    for name, annotation, default in _checked_fields(made):
        value = getattr(part, name)
        if not _is_default(value, default):
            check(name, value, annotation)


@functools.cache
def _checked_fields(cls: Any) -> tuple[tuple[str, Any, Any], ...]:
    hints = _hints(cls)
    return tuple(
        (field.name, hints[field.name], field.default)
        for field in dataclasses.fields(cls)
        if kind_of(hints.get(field.name)) is not None and field.name in hints
    )


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function check its arguments; for one that makes a part.

    It then raises `ConfigError` if one is not what its annotation says.
    """
    signature, hints = inspect.signature(function), _hints(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if not _is_default(value, signature.parameters[name].default):
                check(name, value, hints.get(name, Any))
        return function(*args, **kwargs)

    return call


def forwards(*others: Part, but: Collection[str] = ()) -> Callable[[AnyPart], AnyPart]:
    """Say whose settings a function's ``**settings`` are.

    Args:
        *others: parts, of which the first that has a setting counts.
        but: names of their arguments that the function gives itself.
    """

    def mark(function: AnyPart) -> AnyPart:
        setattr(function, _FORWARDS, (others, tuple(but)))
        return function

    return mark


def signature_of(part: Part) -> Signature:
    """Return the settings of a part: the arguments that can be given by name."""
    settings: dict[str, Setting] = {}
    is_open = False
    try:
        parameters = inspect.signature(part).parameters
    except (ValueError, TypeError):  # as of some that are not written in Python
        return Signature(settings, is_open=True)
    hints = _hints(part)
    for parameter in parameters.values():
        name = parameter.name
        if parameter.kind is parameter.VAR_KEYWORD:
            others, but = getattr(_bare(part), _FORWARDS, ((), ()))
            is_open = not others
            for other in others:
                found = signature_of(other).settings
                new = {key: one for key, one in found.items() if key not in but}
                settings = new | settings
        elif parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            settings[name] = Setting(hints.get(name, Any), parameter.default, _bare(part))
    return Signature(settings, is_open)


def _hints(part: Part) -> dict[str, Any]:
    """Return annotations by name, those of a class with its parents'."""
    part = _bare(part)
    if not isinstance(part, type):
        return _annotations(inspect.unwrap(part))
    found: dict[str, Any] = {}
    for cls in reversed(part.__mro__):
        found |= _annotations(cls)
    if dataclasses.is_dataclass(part):
        return found
    return found | _annotations(vars(part).get("__init__"))


def _bare(part: Part) -> Part:
    while isinstance(part, functools.partial):
        part = part.func
    return part


def _annotations(part: Any) -> dict[str, Any]:
    try:
        return inspect.get_annotations(part, eval_str=True)
    except Exception:  # names that only a type checker knows
        return {}


def _is_default(value: Any, default: Any) -> bool:
    """Whether a value is the default, which is right whatever its annotation says."""
    value = tuple(value) if isinstance(value, list) else value
    return isinstance(default, int | float | str | tuple | None) and (
        type(value) is type(default) and value == default
    )
