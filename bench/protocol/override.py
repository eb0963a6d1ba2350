"""What is laid over a protocol's file before it is read as one: a scale, then each ``--set KEY=VALUE``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any

from bench import registry
from bench.document import Document, overlay, scalar
from bench.errors import BenchError, did_you_mean, shown, unknown
from bench.protocol import settings
from bench.protocol.model import Protocol, section_names
from bench.protocol.sections import (
    ALTERNATIVES,
    DRAWS,
    PAIRED,
    SEEDS,
    SHORT,
    Finetune,
    Mix,
    Pretraining,
    one_of_each,
)
from bench.protocol.views import View
from bench.typed import Keys, plain, suggested

SCALES = ("paper", "pilot", "smoke")
# key of a list: of what
IN_LISTS: dict[str, Any] = {"finetune": Finetune, "datasets": Mix, "views": View}
# mappings in which a key is of a name that is there
NAMED = (("rows",), ("networks",), ("published_only",))
# keys as jobs' specs have them, and no protocol
OF_JOBS = ("seed", "network", "inference", "method")
FACTS = (  # of a spec: what follows from the protocol and the data
    "data",
    "init",
    "given",
    "control",
    "dose",
    "contents",
    "dataset",
    "dataset_version",
    "weights",
    "take",
    "leaks",
    "task",
    "version",
    "source",
    "tune",
    "seen",
    "submission",
    "method.name",
    "method.version",
    "method.source",
    "network.in_channels",
    "network.out_channels",
    "network.version",
    "network.source",
    "inference.crop",
    "finetune.track.targets",
    "finetune.track.empty",
)
BEFORE = {
    "scale": "--scale picks it",
    "scales": "set the key itself, which then holds at every scale",
}
# last of a key: key of --only
PICKED = {"fraction": "fraction", "fractions": "fraction", "seeds": "seed"}


def at_scale(document: Document, scale: str) -> Document:
    """Return a protocol with one of its scales laid over it.

    Raises:
        BenchError: it has no such scale, or what it states as one cannot be.
    """
    scales = _scales(document)
    if scale == "paper":
        return document
    if not isinstance(scale, str) or scale not in scales:
        has = "it has no 'scales'; leave the scale out"
        if scales:
            has = f"it has: {', '.join(['paper', *scales])}"
        raise BenchError(f"{document.path}: has no scale {shown(scale)}; {has}")
    base = document.value
    merged = Document(document.path, overlay(base, _replacing(scales[scale])), dict(document.lines))
    for keys, line in document.lines.items():  # a mistake in an override is shown at its own line
        if keys[:2] == ("scales", scale) and len(keys) > 2:
            merged.lines |= dict.fromkeys(_reached(base, keys[2:]), line)
    return merged


def _scales(document: Document) -> dict[str, Any]:
    scales = document.value.get("scales", {})
    if not isinstance(scales, dict):
        raise BenchError(f"{document.where(('scales',))}: expected a mapping, got {shown(scales)}")
    for key, over in scales.items():
        where = document.where(("scales", key))
        if key not in SCALES:
            raise BenchError(f"{where}: {unknown('scale', key, SCALES)}")
        if not isinstance(over, dict):
            raise BenchError(f"{where}: expected a mapping, got {shown(over)}")
    return scales


def _reached(base: Any, keys: Keys) -> list[Keys]:
    """Return the paths that an override at ``keys`` lands on: a mapping reaches into a list."""
    if not keys:
        return [()]
    if isinstance(base, list) and not keys[0].isdigit():
        return [(str(i), *rest) for i, b in enumerate(base) for rest in _reached(b, keys)]
    inner = base.get(keys[0]) if isinstance(base, dict) else None
    return [(keys[0], *rest) for rest in _reached(inner, keys[1:])]


def _replacing(over: dict[str, Any]) -> dict[str, Any]:
    """Return a scale's overrides with each budget, and the data, replacing what it lies over."""
    replaced = {
        k: one_of_each(v, k == "pretrain") if k in ("pretrain", "finetune") else v
        for k, v in over.items()
    }
    if isinstance(rows := over.get("rows"), dict):
        replaced["rows"] = {k: _replacing(v) if isinstance(v, dict) else v for k, v in rows.items()}
    return replaced


class Override:
    """One ``--set``: a key of the protocol, or of a spec as ``bench plan --json`` shows it, and a YAML value.

    The value replaces what the protocol has there. A key of all sections, or of the pretraining, wins over
    what rows state of it. In a list a key is of every element, unless a number or a name picks one.
    """

    def __init__(self, text: str) -> None:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise BenchError(f"--set {text}: write KEY=VALUE, e.g. finetune.optimiser.lr=1e-3")
        try:
            self.text, self.path, self.value = text, path, scalar(value)
        except BenchError as error:
            raise BenchError(f"--set {text}: {error}") from None
        self.keys = tuple(path.split("."))
        if self.keys[0] == "inference":  # as the spec of an evaluation has it
            self.keys = ("finetune", *self.keys)
        self._used, self._near, self._suggested = False, set[str](), set[str]()

    def lay(self, document: Document) -> None:
        """Write the value into a protocol wherever the key is in it.

        Raises:
            BenchError: it is no key of protocols or jobs, or what stands there is no mapping.
        """
        self._refuse()
        for keys, value in self._meant(document):
            for overruled in _overruled(keys):
                _drop(document.value, overruled)
            for keys_at in list(self._places(document.value, keys)):
                self._put(document, keys_at, value)

    def lay_rows(self, document: Document) -> None:
        """Write the value into rows that were spelled out: a method's parameter, the recipe of a ceiling."""
        first, *rest = self.keys
        rows = document.value.get("rows")
        for name, row in (
            rows.items() if isinstance(rows, dict) and first in ("method", "pretrain") else ()
        ):
            if not isinstance(row, dict):
                continue
            ceiling = (
                row.get("ceiling") is True
                and rest[:1]
                and rest[0] in Pretraining.__dataclass_fields__
            )
            if ceiling if first == "pretrain" else self._has_parameter(row):
                keys = ("rows", name, *(rest if first == "method" else self.keys))
                for keys_at in list(self._places(document.value, keys)):
                    self._put(document, keys_at, self.value)

    def require_used(self) -> None:
        """Refuse a key that no protocol has.

        Raises:
            BenchError: names the nearest.
        """
        if not self._used:
            near = sorted(self._suggested) or get_close_matches(self.path, sorted(self._near), n=1)
            hint = did_you_mean(near) if near else "'bench plan --json' shows what jobs have"
            raise BenchError(f"--set {self.text}: no key {self.path!r} in the protocols; {hint}")

    def _refuse(self) -> None:
        """Refuse at once what no protocol can have."""
        first, key = self.keys[0], PICKED.get(self.keys[-1])
        only = f"; --only {key}=VALUE picks among those that the protocol lists" if key else ""
        stated = [
            k for k, f in Protocol.__dataclass_fields__.items() if not f.metadata.get("unsaid")
        ]
        if first in BEFORE:
            raise BenchError(f"--set {self.text}: {first} cannot be set here; {BEFORE[first]}")
        if any(f"{self.path}.".startswith(f"{fact}.") for fact in FACTS):
            raise BenchError(
                f"--set {self.text}: {self.path} is not a setting: it follows from the protocol and the data{only}"
            )
        if first not in (*stated, *OF_JOBS):
            what = unknown("key of a protocol or a job", first, [*stated, *OF_JOBS])
            if near := suggested(Protocol, first, OF_JOBS):
                what = f"{what.partition('; ')[0]}; {did_you_mean(near)}"
            raise BenchError(f"--set {self.text}: {what}{only}")
        refused = first in OF_JOBS[1:] or (
            first in ("finetune", "pretrain") and isinstance(self.value, dict)
        )
        if len(self.keys) == 1 and refused:
            raise BenchError(
                f"--set {self.text}: name one setting of {first}, as {first}.KEY=VALUE"
            )

    def _meant(self, document: Document) -> Iterator[tuple[Keys, Any]]:
        """Yield each key of a protocol that this one stands for, and its value."""
        first, *rest = self.keys
        if first == "seed":
            pretrain = document.value.get("pretrain")
            paired = isinstance(pretrain, dict) and pretrain.get("seeds") == PAIRED
            yield ("finetune", "seeds"), [self.value]
            yield ("pretrain", "seeds" if paired else "seed"), PAIRED if paired else self.value
        elif first == "network" and rest != ["hidden"]:
            networks = document.value.get("networks")
            yield from ((("networks", name, *rest), self.value) for name in networks or ())
            if rest[0] == "crop":  # then no section has another
                yield from ((part, None) for part in (("finetune", "crop"), ("pretrain", "crop")))
        elif rest[-1:] == ["settings"] and isinstance(self.value, str):
            yield from self._of_file(document)
        elif first != "method":
            yield ("finetune", *rest) if first == "network" else self.keys, self.value
            if rest[-1:] == ["steps"] and "finetune" in self.keys and "pretrain" not in self.keys:
                yield (*self.keys[:-1], "hold"), None  # as many steps at every label fraction

    def _of_file(self, document: Document) -> Iterator[tuple[Keys, Any]]:
        """Yield what a file of settings states, as a row's settings do."""
        document.lines[self.keys] = self.text
        complete = settings.instead({"settings": self.value}, document, self.keys[:-1])
        for key, value in complete.items():
            if value is not None or key not in ALTERNATIVES:
                yield (*self.keys[:-1], key), value

    def _places(self, value: Any, keys: Keys, at: Keys = ()) -> Iterator[Keys]:
        """Yield the full path of everything in a protocol that keys stand for."""
        if not keys:
            yield at
        elif isinstance(value, list):
            for index, rest in self._elements(value, keys, at):
                yield from self._places(value[index], rest, (*at, str(index)))
        elif value is None or isinstance(value, dict):
            stated = value or {}
            name, rest = _longest(keys, stated) or (keys[0], keys[1:])
            if at[-1:] == ("over",):  # its keys are dotted
                name, rest = ".".join(keys), ()
            part = at in NAMED or (not at and name == "pretrain")
            if rest and part and not stated.get(name):
                self._near |= {".".join((*at, other, *rest)) for other in stated if at}
            elif rest and at and name == "recipe" and not isinstance(stated.get(name), dict):
                raise BenchError(
                    f"--set {self.text}: {'.'.join((*at, name))} has no keys that can be set; write the recipe's "
                    f"keys there in the protocol, or set recipe.{'.'.join(rest)}, which changes every recipe"
                )
            else:
                yield from self._places(stated.get(name), rest, (*at, name))
        else:
            raise BenchError(
                f"--set {self.text}: {'.'.join(at)} is {shown(value)}, which has no keys"
            )

    def _elements(self, value: list[Any], keys: Keys, at: Keys) -> Iterator[tuple[int, Keys]]:
        """Yield which elements of a list are meant, and what follows of the keys."""
        fields = IN_LISTS[at[-1]].__dataclass_fields__ if at[-1:] and at[-1] in IN_LISTS else {}
        names = _names(value)
        by_name = _longest(keys, names)
        if keys[0] in fields:  # of a part that some state, in these alone
            inner = (each.get(keys[0]) if isinstance(each, dict) else None for each in value)
            stated = [number for number, part in enumerate(inner) if isinstance(part, dict)]
            optional = len(keys) > 1 and fields[keys[0]].default is None
            yield from ((number, keys) for number in (optional and stated) or range(len(value)))
        elif keys[0].isdecimal() and int(keys[0]) < len(value):
            yield int(keys[0]), keys[1:]
        elif by_name:
            yield names.index(by_name[0]), by_name[1]
        else:
            others = (*filter(None, names), *fields, *map(str, range(len(value))))
            self._near |= {".".join((*at, other, *keys[1:])) for other in others}
            as_typed = (*at, *keys) == self.keys  # not a key that this one replaces
            near = suggested(IN_LISTS[at[-1]], keys[0], others) if fields and as_typed else ()
            self._suggested |= {".".join((*at, other, *keys[1:])) for other in near}

    def _put(self, document: Document, keys: Keys, value: Any) -> None:
        """Replace what stands under one path, and what it is an alternative to."""
        _drop(document.value, keys)
        holder: Any = document.value
        for key in keys[:-1]:
            if isinstance(holder, dict) and holder.get(key) is None:
                holder[key] = {}
            holder = holder[int(key) if isinstance(holder, list) else key]
        holder[int(keys[-1]) if isinstance(holder, list) else keys[-1]] = plain(value)
        for below in [k for k in document.lines if k[: len(keys)] == keys]:
            del document.lines[below]
        document.lines[keys] = self.text
        self._used = True

    def _has_parameter(self, row: dict[str, Any]) -> bool:
        """Tell whether a row is pretrained here by a method that has the parameter."""
        name = str(row.get("method"))
        pretrains = name in registry.names("method") and registry.pretrains(name)
        if self.keys[1] != "params" or not pretrains or row.get("init"):
            return False
        inner: Any = plain(registry.load("method", name).make_params({}))
        for number, key in enumerate(self.keys[2:], 2):
            if not isinstance(inner, dict) or key not in inner:
                others = inner if isinstance(inner, dict) else ()
                self._near |= {".".join((*self.keys[:number], other)) for other in others}
                return False
            inner = inner[key]
        return True


def _overruled(keys: Keys) -> list[Keys]:
    """Return where else a protocol states what a key of all sections, or of the pretraining, is to be.

    ``*`` stands for every element.
    """
    first, *rest = keys
    if first == "pretrain":
        return [("finetune", "*", *keys), ("rows", "*", *keys)]
    if first == "finetune" and rest and rest[0] in Finetune.__dataclass_fields__:
        return [("rows", "*", *keys)]
    return []


def _drop(value: Any, keys: Keys) -> None:
    """Take out what stands under a path, what it is an alternative to, and what a grid varies of it."""
    key, *rest = keys
    grid = value.get("tune") if isinstance(value, dict) else None
    if isinstance(grid, dict) and isinstance(over := grid.get("over"), dict) and key != "tune":
        for varied in [k for k in over if f"{SHORT.get(k, k)}.".startswith(f"{'.'.join(keys)}.")]:
            del over[varied]
        if not over:
            value["tune"] = None
    if rest:
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in inner:
            if key in ("*", str(name)) and isinstance(part, dict | list):
                _drop(part, tuple(rest))
    elif isinstance(value, dict):
        for name in (
            key,
            *(pairs[key][0] for pairs in (ALTERNATIVES, DRAWS, SEEDS) if key in pairs),
        ):
            value.pop(name, None)


def _longest(keys: Keys, names: Collection[str]) -> tuple[str, Keys] | None:
    """Return the longest name that keys begin with, for a name may hold dots, and the keys after it."""
    for count in range(len(keys), 0, -1):
        if (name := ".".join(keys[:count])) in names:
            return name, keys[count:]
    return None


def _names(elements: list[Any]) -> list[str]:
    """Return what the sections of a list, or its data sets, are called."""
    stated = [e if isinstance(e, dict) else {} for e in elements]
    return section_names([(str(e.get("name") or ""), str(e.get("dataset") or "")) for e in stated])
