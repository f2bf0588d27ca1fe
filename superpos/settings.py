"""Settings: frozen dataclasses that check themselves, and their way to and from the columns of a results file.

A class of settings names every field once. Its values are checked when it is made, so that whatever holds settings
holds sound ones. Settings may hold settings; in a results file all fields lie side by side, each under its own name.
"""

import functools
import numbers
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import Field

__all__ = [
    "Count",
    "NotNegative",
    "Positive",
    "Share",
    "Whole",
    "below_one",
    "build",
    "but",
    "defaults",
    "flat",
    "one_of",
    "settings",
    "whole_number",
]

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class of annotated fields a frozen dataclass that checks its values, and has `but`.

    A value of another type or out of range raises ValueError, which names the field, what was expected and the value;
    an unknown field raises TypeError, which lists those there are. Whole numbers may stand for floats, nothing else is
    converted. What fields must be together is checked in `__post_init__`, which raises ValueError. A class that shares a
    field name with settings that it holds is refused with TypeError, because rows could not tell them apart.
    """
    checked = pydantic.dataclasses.dataclass(cls, frozen=True, config=pydantic.ConfigDict(extra="forbid", strict=True))
    check = checked.__init__

    @functools.wraps(check)
    def checking(self: Any, *values: Any, **named: Any) -> None:
        try:
            check(self, *values, **named)
        except pydantic.ValidationError as error:
            raise _in_words(checked, error) from None

    checked.__init__ = checking
    checked.but = but
    names = _names(checked)
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(
            f"{cls.__name__} and settings that it holds share {', '.join(sorted(twice))}; rows could not tell"
        )
    return checked


def _in_words(cls: type, error: pydantic.ValidationError) -> Exception:
    """The first thing that is wrong, as one sentence."""
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    if first["type"] == "unexpected_keyword_argument":
        return TypeError(f"{cls.__name__} has no {names[0]!r}; it has {', '.join(f.name for f in fields(cls))}")
    words = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return ValueError(f"{names[0]} {words}, got {first['input']!r}" if names else words)


def but(one: T, **changes: Any) -> T:
    """A copy of settings with some fields changed, those of settings that they hold included.

    Raises TypeError for a name that is no field, ValueError for values that do not pass.
    """
    return build(type(one), **{**flat(one), **changes})


def flat(run: Any) -> dict[str, Any]:
    """All fields of settings side by side, those of settings that they hold included. A dict is taken as it is."""
    if not is_dataclass(run):
        return dict(run)
    found: dict[str, Any] = {}
    for field in fields(run):
        value = getattr(run, field.name)
        found |= flat(value) if is_dataclass(value) else {field.name: value}
    return found


def defaults(cls: type) -> dict[str, Any]:
    """The fields of a class of settings that have a default, side by side, each with it."""
    found: dict[str, Any] = {}
    for field in fields(cls):
        if is_dataclass(field.type):
            found |= defaults(field.type) if field.default is MISSING else flat(field.default)
        elif field.default is not MISSING:
            found[field.name] = field.default
    return found


def build(make: Callable[..., T], **values: Any) -> T:
    """Settings of a class from values side by side: the inverse of `flat`. `make` may also be dict.

    Raises TypeError for a name that is no field of the class nor of settings that it holds.
    """
    for field in fields(make) if is_dataclass(make) else ():
        if is_dataclass(field.type) and field.name not in values:
            held = {} if field.default is MISSING else flat(field.default)
            held |= {name: values.pop(name) for name in _names(field.type) if name in values}
            values[field.name] = build(field.type, **held)
    return make(**values)


def _names(cls: type) -> list[str]:
    return [n for f in fields(cls) for n in (_names(f.type) if is_dataclass(f.type) else [f.name])]


def one_of(name: str, value: Any, known: Any) -> None:
    """ValueError, with the name and what is known, unless the value is one of them."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def whole_number(name: str, value: Any, least: int) -> None:
    """TypeError for a value that is no whole number, ValueError for one below `least`; both give its name and the value."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def below_one(name: str, value: Any, zero: bool = False) -> None:
    """TypeError for a value that is no number, ValueError for one that is not below 1 and above 0, or, with `zero`, 0."""
    words = f"{'at least' if zero else 'above'} 0 and below 1"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number {words}, got {value!r}")
    if not (0 < value < 1 or (zero and value == 0)):
        raise ValueError(f"{name} must be {words}, got {value}")
