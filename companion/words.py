"""Words that a person wrote: typed values, and the nearest known name for an error's sentence."""

import inspect
import types
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin, get_type_hints

MOST_NAMED = 40
SEVERAL = (tuple, list)


def nearest(name: object, known: Iterable[object]) -> str:
    """End an error message: the nearest known name, if there is one, and what is known."""
    names = sorted(map(str, known))
    close = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"({hint}known: {', '.join(names[:MOST_NAMED]) or 'none yet'}{more})"


def kind_of(function: Callable[..., Any], name: str) -> Any:
    """Tell the type of a parameter: its annotation, or else the type of its default."""
    hints = get_type_hints(function) if inspect.isroutine(function) else {}
    default = inspect.signature(function).parameters[name].default
    if name in hints:
        return hints[name]
    return Any if default is inspect.Parameter.empty else type(default)


def options(kind: Any) -> tuple[Any, ...]:
    """Take a union apart: `int | None` is int and NoneType; any other type is itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def matches(value: Any, kind: Any) -> bool:
    """Say whether a value is of a type; a whole number is a float, too, a truth value neither."""
    if kind is Any:
        return True
    if len(options(kind)) > 1:
        return any(matches(value, one) for one in options(kind))
    outer, inner = get_origin(kind) or kind, [one for one in get_args(kind) if one is not ...]
    if outer in SEVERAL:  # a record keeps a tuple as a list
        return isinstance(value, SEVERAL) and all(matches(v, inner[0]) for v in value if inner)
    if isinstance(value, bool):
        return outer is bool
    return isinstance(value, (float, int) if outer is float else outer)


def named(kind: Any) -> str:
    """Name a type as a person would write it."""
    return " or ".join(
        "None" if one is type(None) else str(one) if get_origin(one) else one.__name__
        for one in options(kind)
    )


def read_word(name: str, text: str, kind: Any) -> Any:
    """Read a parameter that was written as one word. Raises ValueError, in one sentence.

    Truth values are true or false in any case, None is none; several values are written
    16,32,64, with or without brackets.
    """
    if len(options(kind)) > 1:
        if type(None) in options(kind) and text.lower() == "none":
            return None
        kind = next(one for one in options(kind) if one is not type(None))
    outer, inner = get_origin(kind) or kind, [one for one in get_args(kind) if one is not ...]
    try:
        if outer is bool:
            return {"true": True, "false": False}[text.lower()]
        if outer in SEVERAL:
            words = [word.strip(" '\"") for word in text.strip("()[] ").split(",")]
            return outer((inner or [str])[0](word) for word in words if word)
        return text if kind is Any else kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", tuple: "numbers with commas between them"}
        what = wanted.get(outer, named(kind))
        raise ValueError(f"{name} must be {what}, got {text!r}") from None


def at_least(least: int, **given: int) -> None:
    """Raise ValueError, in one sentence, for the first of the named numbers below the least."""
    for name, value in given.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")


def pairs(words: Iterable[Iterable[str]]) -> dict[str, str]:
    """Read what followed each -p: NAME=VALUE, or NAME VALUE. ValueError for anything else."""
    found = {}
    for some in words:
        name, *rest = some
        if not rest and "=" in name:
            name, _, value = name.partition("=")
            rest = [value]
        if len(rest) != 1 or not name:
            got = " ".join(some)
            raise ValueError(f"a choice is written name=value, got {got!r}")
        found[name] = rest[0]
    return found
