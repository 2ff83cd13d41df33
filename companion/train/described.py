"""What a thing is, told in JSON: a model, a function and what is bound to it, an object, a tensor.

A function of a package is known by its name and what is bound to it; one without a name of its
own (a lambda, an inner function, one of a notebook) also by the numbers and names in it. An
object is known by its class and its public settings: what begins with _ is its own affair. What
is off (None, False, 0, empty) is as good as absent, so that a new choice that is off, or a newer
torch, changes nothing. Nothing depends on the machine, its device or Python's version.
"""

import dis
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.runs import Run

DOCUMENTED = 0x4000000  # the flag of code whose first constant is its docstring, from 3.14 on


def settings(found: Mapping[str, Any], but: Iterable[str] = ()) -> dict[str, Any]:
    """The public settings that are on."""
    return {
        name: value
        for name, value in found.items()
        if not name.startswith("_") and name not in but and not is_off(value)
    }


def is_off(value: Any) -> bool:
    """Whether a setting is as good as absent."""
    plain = value is None or isinstance(value, (bool, int, float, str, tuple, list, dict))
    return plain and not value


def told(value: Any, around: tuple[int, ...] = ()) -> Any:
    """Turn a value into JSON that says what it is; around: the ids of what it is a part of."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return number(value)
    if id(value) in around:
        return "itself"
    within = partial(told, around=(*around, id(value)))
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return of_tensor(torch.as_tensor(value))
    if isinstance(value, Mapping):
        return {str(key): within(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [within(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(within(one), sort_keys=True) for one in value)
    if isinstance(value, Run):
        return [value.name, value.files.get("weights.safetensors", "")]
    if isinstance(value, Dataset):
        return [value.name, value.split, value.sha256]
    if isinstance(value, nn.Module):
        return {name: within(one) for name, one in of_model(value).items()}
    if isinstance(value, partial):
        return within(of_function(value.func, value.args, value.keywords))
    if isinstance(value, MethodType):
        return [name_of(value), within(value.__self__)]
    if hasattr(value, "__wrapped__") and not is_ours(value):
        return within(value.__wrapped__)
    if isinstance(value, FunctionType):
        return within(of_function(value))
    if isinstance(value, (type, BuiltinFunctionType)):
        return name_of(value)
    if hasattr(value, "__dict__"):
        return [name_of(type(value)), within(settings(vars(value)))]
    return [name_of(type(value)), repr(value).partition(" at 0x")[0]]


def name_of(thing: Any) -> str:
    """The package and the name of a class or function; the file in the package may change."""
    package = (getattr(thing, "__module__", "") or "").partition(".")[0]
    return f"{package}:{thing.__qualname__}"


def is_ours(wrapper: Any) -> bool:
    """Whether a wrapper may add something: those of Python's and torch's own add nothing."""
    package = getattr(wrapper, "__globals__", {}).get("__name__", "functools").partition(".")[0]
    return package not in ("functools", "contextlib", "torch")


def number(value: float) -> str:
    """Nine digits of a real number, all of a whole one: 1 and 1.0 are one setting."""
    whole = isinstance(value, int) or value.is_integer()
    return str(int(value)) if whole else f"{value:.9g}"


def of_tensor(value: Tensor) -> list[Any]:
    """Type, shape and a hash of a tensor; of real numbers, of the leading half of their bits.

    The last ones depend on the machine that computed them.
    """
    found = value.detach().cpu()
    if found.is_floating_point():
        half = 1 - int(torch.tensor(torch.finfo(found.dtype).eps).log2()) // 2
        mantissa, exponent = np.frexp(found.double().numpy())
        array = np.ldexp(np.round(mantissa * 2**half), exponent - half) + 0.0  # no -0
    else:
        array = found.numpy()
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
    return [str(found.dtype), [*found.shape], content]


def of_model(model: nn.Module) -> dict[str, Any]:
    """Each module of a model by name: class, settings, names and shapes of what it holds.

    Weights count by their shapes; a buffer that is not saved with them is a setting.
    """
    found, saved = {}, model.state_dict(keep_vars=True).keys()
    for name, part in model.named_modules():
        held: dict[str, Any] = {}
        for key, value in {**part._parameters, **part._buffers}.items():
            if value is not None:
                is_saved = f"{name}.{key}".removeprefix(".") in saved
                held[key] = str(tuple(value.shape)) if is_saved else of_tensor(value)
        found[name] = [name_of(type(part)), settings(vars(part), {"training"}), held]
    return found


def of_function(
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    named: Mapping[str, Any] | None = None,
) -> list[Any]:
    """A function by its name, what is bound to it, and what of it has no name."""
    try:
        bound = inspect.signature(function).bind_partial(*args, **(named or {}))
        bound.apply_defaults()
        given: dict[str, Any] = settings(bound.arguments)
    except (ValueError, TypeError):  # some functions do not tell, or not the truth
        given = {"args": args, **(named or {})}
    if not isinstance(function, FunctionType):
        return [function, given]
    title, code = name_of(function), function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    held = [content(cells[name]) for name in (used(code, cells) if cells else ())]
    nameless = "<" in title or title.startswith("__main__:")
    return [title, given, held, sorted(words(code)) if nameless else []]


def content(cell: CellType) -> Any:
    """What a variable of a closure holds, if it was given something."""
    try:
        return cell.cell_contents
    except ValueError:
        return "nothing"


def used(code: CodeType, free: Iterable[str]) -> list[str]:
    """The variables of a closure in the order of their first use: they may be renamed."""
    found: dict[str, None] = {}
    for step in dis.get_instructions(code):
        if isinstance(step.argval, CodeType):
            found |= dict.fromkeys(used(step.argval, free))
        elif "DEREF" in step.opname and step.argval in free:
            found[step.argval] = None
    return [*found]


def words(code: CodeType) -> set[str]:
    """The numbers and texts in some code, and the names that it asks its module for."""
    found, constants = {*code.co_names}, [*code.co_consts]
    documented = code.co_flags & DOCUMENTED or sys.version_info < (3, 14)
    named = not code.co_name.startswith("<")  # a lambda has no docstring
    if documented and named and constants and isinstance(constants[0], str):
        constants.pop(0)
    while constants:
        one = constants.pop()
        if isinstance(one, CodeType):
            found |= words(one)
        elif isinstance(one, (tuple, frozenset)):
            constants.extend(one)
        elif isinstance(one, (int, float)):
            found.add(number(one))
        elif isinstance(one, str) and "<locals>" not in one:  # or it is an inner name, before 3.11
            found.add(repr(one))
    return found
