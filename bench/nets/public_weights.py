"""The table of public weights, ``weights.toml``, and whether a protocol prepares images as for theirs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bench import typed
from bench.errors import BenchError, unknown
from bench.ranges import Triple

FILE = Path(__file__).with_name("weights.toml")
ENTRIES = ("window", "scale", "standard", "spacing")  # of a recipe, that weights are trained with
CLOSE = 0.05  # spacings this near, relatively, count as one
OTHER = "other"  # what a row says of a recipe that is another on purpose


@dataclass(frozen=True, kw_only=True)
class PublicWeights:
    """One release of weights.

    ``scale`` and the rest of the recipe are a protocol's entries; what is not stated was left to the scan, or is
    not known, and is not compared. ``crop`` is what they were trained on, in voxels.
    """

    name: str
    title: str
    network: str
    presets: tuple[str, ...]  # one for each size of the release
    layout: str  # the name of one of ``foreign_layouts.LAYOUTS``
    data: str
    window: tuple[float, float] | None = None
    scale: str = ""
    spacing: tuple[float, float, float] | None = None  # mm
    orientation: str
    crop: Triple
    head: Literal["", "softmax", "sigmoid"] = ""  # of weights that can be scored as they came
    # the network that has their output layer, at the same presets, where ``network`` has not
    with_head: str = ""
    classes: tuple[str, ...] = ()  # of the output layer's channels
    licence: str
    cite: str
    url: str
    code: str  # repository, commit, files that were read
    # tests build the file from the authors' class, or from their definition's names and shapes
    keys_from: Literal["class", "definition"]
    note: str = ""

    @property
    def recipe(self) -> dict[str, Any]:
        """Return what is known of the recipe."""
        entries = {"window": self.window, "scale": self.scale, "spacing": self.spacing}
        return {key: value for key, value in entries.items() if value}


@cache
def table() -> dict[str, PublicWeights]:
    """Return all weights by name.

    Raises:
        BenchError: a field is missing, unknown or of another type; names the weights and the field.
    """
    stated = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: _weights(name, facts) for name, facts in stated.items()}


def _weights(name: str, facts: Mapping[str, Any]) -> PublicWeights:
    def where(keys: typed.Keys) -> str:
        return ".".join([FILE.name, name, *keys])

    return typed.build(PublicWeights, {"name": name, **facts}, where)


def by_name(name: str) -> PublicWeights:
    """Return the weights of a name.

    Raises:
        BenchError: there are none.
    """
    if name not in table():
        raise BenchError(f"{unknown('weights', name, table())}; see 'bench list weights'")
    return table()[name]


def of_layout(layout: str, preset: str) -> list[PublicWeights]:
    """Return the weights whose files have this layout and size."""
    return [w for w in table().values() if w.layout == layout and preset in w.presets]


@dataclass(frozen=True)
class Trained:
    """Whose weights, and the entries of their recipe as far as anybody tells."""

    whose: str
    recipe: Mapping[str, Any]

    def differing(self, recipe: Mapping[str, Any]) -> list[str]:
        """Return which of its entries are others in a protocol's recipe."""
        stated = [key for key in ENTRIES if self.recipe.get(key)]
        return [key for key in stated if not _alike(self.recipe[key], recipe.get(key), key)]


def check_recipe(trained: Sequence[Trained], recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe that is none of those that weights may have been trained with.

    Args:
        trained: all that they may be; where there are none nothing is refused.
        recipe: a protocol's, all entries.

    Raises:
        BenchError: names what differs, of each.
    """
    differing = {weights.whose: weights.differing(recipe) for weights in trained}
    if not all(differing.values()) or not trained:
        return
    theirs = "; ".join(f"{w.whose}: {_words(differing[w.whose], w.recipe)}" for w in trained)
    keys = [key for key in ENTRIES if any(key in keys for keys in differing.values())]
    raise BenchError(
        f"the weights were trained with another recipe than that of this data ({theirs}; here: "
        f"{_words(keys, recipe)}); use their recipe, or if the difference is intended write init: {{file: FILE, "
        f"recipe: {OTHER}}}"
    )


@dataclass(frozen=True)
class Stated:
    """What a row says of its file of weights, and how its data is prepared."""

    row: str
    recipe: Mapping[str, Any]  # all entries
    weights: str = ""  # a name of the table
    other_recipe: bool = False  # prepared otherwise on purpose
    classes: tuple[int, ...] = ()  # of the file's output layer, that labels are made of
    by_names: bool = False  # were these stated by their names?

    def check(self, layout: str, preset: str, recipe: Mapping[str, Any], classes: int) -> None:
        """Refuse other weights than are named, another recipe that is not stated, classes that they have not.

        Args:
            layout: of the file; empty where bench wrote it.
            preset: of its network.
            recipe: what the file itself tells.
            classes: of its output layer.

        Raises:
            BenchError: names the row.
        """
        where = f"rows.{self.row}.init"
        self._check_file(where, layout, preset, classes)
        if self.other_recipe:
            return
        public = [by_name(self.weights)] if self.weights else of_layout(layout, preset)
        trained = [Trained(w.name, {**w.recipe, **recipe}) for w in public]
        if recipe and not trained:
            trained = [Trained("the file", recipe)]
        try:
            check_recipe(trained, self.recipe)
        except BenchError as error:
            raise BenchError(f"{where}: {error}") from None

    def _check_file(self, where: str, layout: str, preset: str, classes: int) -> None:
        public = of_layout(layout, preset)
        if self.weights and by_name(self.weights) not in public:
            raise BenchError(
                f"{where}: expected weights {self.weights} ({by_name(self.weights).layout}), but the file is "
                f"{layout or 'of bench'}, preset {preset}; correct 'file' or 'weights'"
            )
        if self.classes and max(self.classes) >= classes:
            raise BenchError(
                f"{where}.labels: class {max(self.classes)} is beyond the {classes} classes of the weights' last layer"
            )
        if self.by_names and len(by_name(self.weights).classes) != classes:
            raise BenchError(
                f"{where}.labels: class names work only with the {len(by_name(self.weights).classes)} classes "
                f"of {self.weights}, but the file has {classes}; give the classes by number"
            )


def _alike(theirs: Any, given: Any, key: str) -> bool:
    if isinstance(theirs, str) or given is None:
        return theirs == given
    tolerance = CLOSE if key == "spacing" else 1e-3
    pairs = zip(theirs, given, strict=True)
    return all(abs(a - b) <= tolerance * max(abs(a), abs(b), 1e-9) for a, b in pairs)


def _words(keys: Sequence[str], recipe: Mapping[str, Any]) -> str:
    return ", ".join(_in_words(key, recipe.get(key)) for key in keys)


def _in_words(key: str, value: Any) -> str:
    if value is None:
        return f"no {key}"
    text = value if isinstance(value, str) else " ".join(f"{number:g}" for number in value)
    return f"{key} {text}"
