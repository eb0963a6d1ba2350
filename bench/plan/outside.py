"""What a row says of weights from outside: which public ones they are, whose recipe, what becomes of their classes."""

from __future__ import annotations

from dataclasses import dataclass

from bench.dataset import Dataset, Recipe
from bench.errors import BenchError, Misstated, unknown
from bench.nets.public_weights import OTHER, PublicWeights, Stated, by_name
from bench.plan.arm import Arm
from bench.protocol.external import value_of
from bench.protocol.sections import Initial
from bench.typed import plain

Pairs = tuple[tuple[int, int], ...]  # class of the weights, label of the data set


@dataclass(frozen=True)
class Outputs:
    """How the output of weights that are scored as they came becomes a label map."""

    relabel: Pairs = ()  # of the class with the highest score
    paint: Pairs = ()  # of each class that is above a half by itself


def outputs(arm: Arm) -> Outputs:
    """Return what becomes of the classes of a row's weights; nothing where the task's are learned.

    Raises:
        Misstated: a label or a class that is none, or one of which the row says nothing.
    """
    initial = _initial(arm)
    if initial is None or not initial.labels:
        return Outputs()
    public = _public(initial)
    if public is not None and not public.head:
        why = public.note or "bench reads no output layer of them"
        raise Misstated(
            "init", f"labels: weights {public.name} cannot be scored without training: {why}"
        )
    needed = arm.net.network if public is None else public.with_head or public.network
    if public is not None and arm.net.network != needed:
        raise Misstated(
            "init",
            f"labels: to score weights {public.name} without training, use network {needed}, which has "
            f"their output layer; the row has {arm.net.network}",
        )
    pairs = _pairs(arm.target.dataset, initial, public)
    sigmoid = public is not None and public.head == "sigmoid"
    return Outputs(paint=pairs) if sigmoid else Outputs(relabel=pairs)


def stated(arm: Arm, recipe: Recipe) -> Stated | None:
    """Return what a row says of its file of weights; None where it starts from none.

    Raises:
        Misstated: public weights of another network than the row's, or of no such name.
    """
    initial = _initial(arm)
    if initial is None:
        return None
    public = _public(initial)
    if public is not None:
        _check_network(arm, public)
    become = outputs(arm)
    classes = tuple(number for number, _ in (*become.relabel, *become.paint))
    other = initial.recipe == OTHER
    by_names = any(isinstance(each, str) for names in initial.labels.values() for each in names)
    return Stated(arm.name, plain(recipe), initial.weights, other, classes, by_names)


def _initial(arm: Arm) -> Initial | None:
    initial = Initial.of(arm.row.init) if arm.row.init else None
    return initial if initial is not None and initial.file else None


def _public(initial: Initial) -> PublicWeights | None:
    try:
        return by_name(initial.weights) if initial.weights else None
    except BenchError as error:
        raise Misstated("init", f"weights: {error}") from None


def _check_network(arm: Arm, public: PublicWeights) -> None:
    networks = [public.network, *filter(None, [public.with_head])]
    if arm.net.network not in networks or arm.net.preset not in public.presets:
        raise Misstated(
            "init",
            f"weights {public.name} need network {' or '.join(networks)}, preset {' or '.join(public.presets)}, "
            f"but the row has network {arm.net.network}, preset {arm.net.preset}; change the row",
        )


def _pairs(dataset: Dataset, initial: Initial, public: PublicWeights | None) -> Pairs:
    try:
        labels = {value_of(dataset, label): classes for label, classes in initial.labels.items()}
    except Misstated as error:
        raise Misstated("init", f"labels: {error}") from None
    if silent := [name for value, name in dataset.labels.items() if value not in labels]:
        raise Misstated(
            "init",
            f"labels: {silent[0]!r} of data set {dataset.title!r} is missing; name the classes that become this "
            f"label, or none: '{silent[0]}: []'",
        )
    pairs = [(_class(each, public), label) for label, classes in labels.items() for each in classes]
    if not pairs:
        raise Misstated("init", "labels: no class of the weights becomes a label; name one or more")
    if len({number for number, _ in pairs}) < len(pairs):
        raise Misstated(
            "init", "labels: a class of the weights becomes two labels; name each class once"
        )
    return tuple(sorted(pairs))


def _class(stated_class: int | str, public: PublicWeights | None) -> int:
    names = public.classes if public is not None else ()
    if isinstance(stated_class, int):
        return stated_class
    if not names:
        raise Misstated(
            "init",
            f"labels: class {stated_class!r}: only some public weights have names of classes ('bench list weights "
            "--json'); name these in 'weights', or give the class by its number",
        )
    if stated_class not in names:
        raise Misstated("init", f"labels: {unknown('class', stated_class, names)}")
    return names.index(stated_class)
