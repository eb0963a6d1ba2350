"""Plain values of YAML, JSON or Python to frozen dataclasses and back: every type and bound checked.

One engine for protocols, profiles, the parameters of methods, the specs of jobs and what lies beside them.
Annotations say everything: ``float``, ``Literal``, ``X | None``, ``tuple[int, int]``, ``list[X]``,
``dict[str, X]``, dataclasses, numbers of ``bench.ranges``. Files of which others may know more are checked
and stay plain values: ``{"kind": str, "steps?": int}`` names the keys that are looked at (with ``?`` they may
be absent or null; ``*`` is whatever keys there are), ``[str]`` is a list.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from operator import attrgetter
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bench import ranges
from bench.errors import BenchError, did_you_mean, shown

T = TypeVar("T")
Keys = tuple[str, ...]
Where = Callable[[Keys], str]  # what an error says first of the value under a path of keys
SPARSE = "sparse"
FORMER = "former"  # in a field's metadata: values that have another name now
PERCENTS = "percents"  # likewise: its numbers are whole percents
ATOMS = frozenset((str, int, float, bool, type(None)))
LARGEST = 2.0**63  # a stored number beyond it counts nothing here
SURE = 0.8  # similarity from which an unknown key is a slip of the pen
OTHER_NAMES = {  # of keys in other programs: the name here
    "learning_rate": "lr",
    "base_lr": "lr",
    "wd": "weight_decay",
    "optimizer": "optimiser",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "batch_size": "batch",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
    "max_steps": "steps",
    "num_steps": "steps",
    "iterations": "steps",
    "seed": "seeds",
    "patch_size": "crop",
    "augmentation": "augment",
}


def sparse(default: Any = None) -> Any:
    """Return a field that ``plain`` leaves out while it has its default, so that adding it changes no id."""
    metadata = {SPARSE: True}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def renamed(default: str, **former: str) -> Any:
    """Return a field of words; one of ``former`` is refused with what it is called now, in words."""
    return field(default=default, metadata={FORMER: former})


def percents(default: tuple[int, ...]) -> Any:
    """Return a field of whole percents; of a share, such as 0.1, an error says which percent to write."""
    return field(default=default, metadata={PERCENTS: True})


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses as mappings of their fields, tuples as lists."""
    kind = value.__class__
    if kind in ATOMS:
        return value
    if isinstance(value, dict):
        return {k: v if v.__class__ in ATOMS else plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [v if v.__class__ in ATOMS else plain(v) for v in value]
    if not is_dataclass(value):
        return value
    return {k: v if v.__class__ in ATOMS else plain(v) for k, v in _fields(value).items()}


def not_plain(value: Any) -> str | None:
    """Return in words the first part of a value that JSON cannot hold; None where it can hold all."""
    if value.__class__ in ATOMS:
        return None
    parts: Any = None
    if isinstance(value, dict):
        parts = (*value, *value.values())
    elif isinstance(value, (list, tuple)):
        parts = value
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, f.name) for f in fields(value)]
    if parts is None:
        return _kind_of(value)
    return next(filter(None, map(not_plain, parts)), None)


def _kind_of(value: Any) -> str:
    """Return what a value is, in words: ``a lambda``, ``the function f``, ``the class C``, ``a Tensor``."""
    name = getattr(value, "__qualname__", "")
    if name.endswith("<lambda>"):
        return "a lambda"
    if isinstance(value, type):
        return f"the class {name}"
    return f"the function {name}" if callable(value) and name else f"a {type(value).__name__}"


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are stored, each as it is."""
    names, inner, left_out = _stored(value.__class__)
    values = dict(zip(names, inner(value), strict=True))
    for name, default in left_out:
        if values[name] == default:
            del values[name]
    return values


def read(kind: type[T], raw: bytes) -> T:
    """Return the JSON object in ``raw`` as a ``kind``.

    Raises:
        ValueError: it is none, holds a number that is not finite, or something else than ``kind`` says.
    """
    numbers: dict[str, Any] = dict.fromkeys(("parse_constant", "parse_float", "parse_int"), _number)
    try:
        content = json.loads(raw, **numbers if is_dataclass(kind) else {})
    except RecursionError as error:
        raise ValueError(error) from None
    return stored(kind, content)


def stored(kind: type[T], value: Any) -> T:
    """Return what a JSON file held as a ``kind``.

    Raises:
        ValueError: says where it departs from it.
    """
    try:
        return build(kind, value, ".".join)
    except BenchError as error:
        raise ValueError(str(error).removeprefix(": ")) from None


def _number(text: str) -> int | float:
    number = float(text)
    if not abs(number) < LARGEST:
        raise ValueError(f"{text[:40]} is not a number")
    return int(text) if text.lstrip("-").isdigit() else number


@cache
def _stored(
    kind: Any,
) -> tuple[tuple[str, ...], Callable[[Any], Sequence[Any]], tuple[tuple[str, Any], ...]]:
    """Return a dataclass's fields, what gets the values of all, and of which a value leaves them out."""
    names = tuple(f.name for f in fields(kind))
    inner = (
        attrgetter(*names) if len(names) > 1 else lambda value: [getattr(value, n) for n in names]
    )
    return (
        names,
        inner,
        tuple((f.name, _default(f)) for f in fields(kind) if f.metadata.get(SPARSE)),
    )


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no white space."""
    return CANONICAL.encode(value)


# in C, but for fields
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_fields)


def narrowed(kind: type[T], value: Any, **changed: Any) -> T:
    """Return a ``kind`` with the fields of a larger dataclass, ``changed`` over them."""
    names: tuple[str, ...] = _stored(kind)[0]  # type: ignore[arg-type]
    return kind(**{name: getattr(value, name) for name in names if name not in changed} | changed)


class Missing(BenchError):  # noqa: N818 - as the words are used
    """Keys that a mapping lacks, of all its mappings at once. ``places``: a text for each."""

    def __init__(self, places: list[str]) -> None:
        self.places = places
        super().__init__("; ".join(places))


def build(kind: type[T], value: Any, where: Where, keys: Keys = ()) -> T:
    """Return ``value`` as a ``kind``.

    Args:
        kind: a frozen dataclass (a field with ``unsaid`` in its metadata cannot be given), or what else
            stands above.
        value: a mapping of plain values, a dataclass built already among them; lists and tuples are alike.
        where: names the place of a value in errors.
        keys: the path of ``value`` itself.

    Raises:
        BenchError: unknown key (with the nearest valid one), wrong type or out of bounds.
        Missing: else all keys that are missing anywhere.
    """
    built: T = _value(kind, value, keys, where)
    return built


def _value(kind: Any, value: Any, keys: Keys, where: Where) -> Any:
    if kind is Any or (type(value) is kind and kind in ATOMS):
        return value
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(kind, value, keys, where)
    if origin is Literal:
        return _choice(get_args(kind), value, keys, where)
    if origin in (tuple, list):
        inner = get_args(kind) if origin is tuple else (*get_args(kind), ...)
        return origin(_tuple(inner, value, keys, where))
    if isinstance(kind, dict | list):
        return _shape(kind, value, keys, where)
    if origin is dict:
        return _dict(get_args(kind), _mapping(value, keys, where), keys, where)
    if is_dataclass(kind):
        return _dataclass(kind, value, keys, where)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise BenchError(
            f"{where(keys)}: expected {_name(kind)}, got {shown(value)}{_quotes(kind, value)}"
        )
    return value


def _quotes(kind: Any, value: Any) -> str:
    """Return whether quotes are what is wrong with a value; "" where they are not."""
    if kind is str and isinstance(value, (int, float)):
        return "; put it in quotes"
    is_number = isinstance(value, str) and value.strip().isdecimal()
    return "; remove the quotes" if kind in (int, float) and is_number else ""


def _mapping(value: Any, keys: Keys, where: Where) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise BenchError(f"{where(keys)}: expected a mapping, got {shown(value)}")
    return value


def _dict(
    kinds: tuple[Any, ...], value: dict[Any, Any], keys: Keys, where: Where
) -> dict[Any, Any]:
    """Check keys and values of a mapping whose keys are free."""
    key, inner = kinds
    values = _values([(inner, v, (*keys, str(k))) for k, v in value.items()], where)
    return {_value(key, k, keys, where): v for k, v in zip(value, values, strict=True)}


def _values(
    parts: Sequence[tuple[Any, Any, Keys]], where: Where, missing: Sequence[str] = ()
) -> list[Any]:
    """Return each value as its kind; what is missing, here or in them, is told after any other mistake."""
    built, lacking = list[Any](), list(missing)
    for kind, value, keys in parts:
        try:
            built.append(_value(kind, value, keys, where))
        except Missing as error:
            lacking += error.places
    if lacking:
        raise Missing(lacking)
    return built


def _shape(kind: dict[str, Any] | list[Any], value: Any, keys: Keys, where: Where) -> Any:
    """Check what ``kind`` names of plain values, and return them as they are."""
    if isinstance(kind, list):
        _tuple((*kind, ...), value, keys, where)
        return value
    mapping = _mapping(value, keys, where)
    every = dict.fromkeys(mapping, kind["*"]) if "*" in kind else kind
    for key, inner in every.items():
        name = key if key in mapping else key.removesuffix("?")
        item = mapping.get(name)
        if item is None and name != key:
            continue
        _value(inner, item, (*keys, name), where)
        if isinstance(item, int | float) and not abs(item) < LARGEST:
            raise BenchError(f"{where((*keys, name))}: {shown(item)} is not a number")
    return value


def _dataclass(kind: Any, value: Any, keys: Keys, where: Where) -> Any:
    allowed, hints = _givable(kind)
    if isinstance(value, kind):
        value = {name: getattr(value, name) for name in allowed}
    for key in _mapping(value, keys, where):
        if key not in allowed:
            near = suggested(kind, str(key))
            hint = did_you_mean(near) if near else f"known: {', '.join(sorted(allowed))}"
            raise BenchError(f"{where((*keys, key))}: unknown key {shown(key)}; {hint}")
    for key, given in value.items():
        now = allowed[key].metadata.get(FORMER, {}).get(given if isinstance(given, str) else "")
        if now:
            raise BenchError(
                f"{where((*keys, key))}: {given!r} is called {now}; write the new name"
            )
        if allowed[key].metadata.get(PERCENTS) and isinstance(given, list | tuple):
            _refuse_shares(given, (*keys, key), where)
    needed = (
        k for k, f in allowed.items() if f.default is MISSING and f.default_factory is MISSING
    )
    absent = [repr(k) for k in needed if k not in value]
    missing = [f"{where(keys)}: {_missing(absent)}"] if absent else []
    values = _values([(hints[k], v, (*keys, k)) for k, v in value.items()], where, missing)
    built = dict(zip(value, values, strict=True))
    for name, problem in ranges.problems(kind, built).items():
        raise BenchError(f"{where((*keys, name))} {problem}")
    try:
        return kind(**built)
    except ValueError as error:  # a dataclass's own __post_init__ names the field
        raise BenchError(f"{where(keys)}: {error}") from None


def _refuse_shares(values: Sequence[Any], keys: Keys, where: Where) -> None:
    """Refuse 0.1 and ``20%`` in a list of whole percents."""
    for index, value in enumerate(values):
        if not isinstance(value, float | str):
            continue
        if isinstance(value, str):
            percent = value.strip(" %")
        else:
            percent = f"{value if value > 1 else 100 * value:g}"
        write = percent if percent.isdecimal() else "10 for 10 %"
        raise BenchError(
            f"{where((*keys, str(index)))}: {keys[-1]} are whole percents, got {shown(value)}; write {write}"
        )


def suggested(kind: Any, key: str, others: Sequence[str] = ()) -> list[str]:
    """Return the keys that an unknown one may mean, such as ``optimiser.lr`` for ``lr``; three at most.

    Args:
        kind: the dataclass that lacks the key.
        key: as written.
        others: keys that are allowed beside the dataclass's own.
    """
    names = [*_givable(kind)[0], *others]
    usual = OTHER_NAMES.get(key.lower(), key)
    if usual in names:
        return [usual]
    near = get_close_matches(key[:80], names, n=1, cutoff=SURE)
    paths = near or _nested_paths(kind, usual) or get_close_matches(key[:80], names, n=1)
    return paths[:3]


def _nested_paths(kind: Any, key: str) -> list[str]:
    """Return the dotted paths of a key one level below a dataclass; two levels where there is none."""
    below = _nested_kinds(kind)
    twice = [(f"{path}.{name}", part) for path, of in below for name, part in _nested_kinds(of)]
    levels = [
        [f"{path}.{key}" for path, of in level if key in _givable(of)[0]]
        for level in (below, twice)
    ]
    return levels[0] or levels[1]


@cache
def _nested_kinds(kind: Any) -> list[tuple[str, Any]]:
    """Return the dataclasses among a dataclass's fields, also in a union or a list, by the field's name."""
    allowed, hints = _givable(kind)
    return [
        (name, part)
        for name in allowed
        for part in (hints[name], *get_args(hints[name]))
        if is_dataclass(part) and get_origin(hints[name]) is not dict
    ]


def _missing(names: list[str]) -> str:
    *most, last = names
    return f"keys {', '.join(most)} and {last} are missing" if most else f"key {last} is missing"


@cache
def _givable(kind: Any) -> tuple[dict[str, Field[Any]], dict[str, Any]]:
    """Return a dataclass's fields that can be given, and the annotations of all."""
    return {f.name: f for f in fields(kind) if not f.metadata.get("unsaid")}, get_type_hints(kind)


def _union(kind: Any, value: Any, keys: Keys, where: Where) -> Any:
    options = get_args(kind)
    if value is None and type(None) in options:
        return None
    rest = [o for o in options if o is not type(None)]
    if isinstance(value, dict):
        rest = [o for o in rest if is_dataclass(o) or get_origin(o) is dict] or rest
    elif len(rest) > 1:
        named = [o for o in rest if get_origin(o) is Literal and isinstance(value, str)]
        if named and str not in rest:
            return _choice(
                get_args(named[0]), value, keys, where, [o for o in rest if o not in named]
            )
        rest = named or [o for o in rest if o is type(value)] or rest
    return _value(rest[0], value, keys, where)


def _choice(
    options: tuple[Any, ...], value: Any, keys: Keys, where: Where, kinds: Sequence[Any] = ()
) -> Any:
    """Check that a value is one of the options; ``kinds``: what else a union allows in its place."""
    if value in options and not isinstance(value, bool):
        return value
    near = get_close_matches(str(value)[:80], map(str, options), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = f"{'one of ' if len(options) > 1 else ''}{', '.join(map(str, options))}"
    expected = " or ".join([*map(_name, kinds), listed])
    raise BenchError(f"{where(keys)}: expected {expected}, got {shown(value)}{hint}")


def _tuple(inner: tuple[Any, ...], value: Any, keys: Keys, where: Where) -> Any:
    if not isinstance(value, (list, tuple)):
        raise BenchError(f"{where(keys)}: expected a list, got {shown(value)}")
    if inner[-1] is Ellipsis:
        return tuple(_values([(inner[0], v, (*keys, str(i))) for i, v in enumerate(value)], where))
    if len(value) != len(inner):
        raise BenchError(f"{where(keys)}: expected {len(inner)} values, got {len(value)}")
    pairs = zip(inner, value, strict=True)
    return tuple(_values([(k, v, (*keys, str(i))) for i, (k, v) in enumerate(pairs)], where))


def _name(kind: Any) -> str:
    return {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "tuple": "a list",
    }.get(kind.__name__, kind.__name__)
