"""What no single section can know: whether the parts of a protocol fit together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench import registry
from bench.dataset import Recipe
from bench.errors import BenchError, first_of, printable, unknown
from bench.metrics.request import unit
from bench.nets import catalog
from bench.nets.nearest import nearest
from bench.protocol import ceilings, mixture, views
from bench.protocol.comparable import baseline_of
from bench.protocol.model import (
    Protocol,
    Row,
    controls_of,
    finetune_of,
    labelled,
    method_pretrains,
    pretrain_of,
    pretrained_net,
    pretrains,
    tuned_net,
)
from bench.protocol.sections import SHORT, Finetune, Net, Pretrain, Training
from bench.ranges import Triple

PAPERS = ("pgl", "hssl", "voco", "taleb", "glmae")
PRINTED = (*PAPERS, "tran")  # papers with numbers in results/published
LISTED = 6  # keys that one line names
LONGEST = 120  # bytes of a name: a file system takes 255, and files get suffixes
Keys = tuple[str, ...]
# of a finetune section: no row may have its own
SHARED = (
    "name",
    "title",
    "dataset",
    "split",
    "folds",
    "where",
    "exclude",
    "submit",
    "regions",
    "pretrain",
    "test_on",
)


def check(protocol: Protocol) -> None:
    """Look at a protocol as a whole.

    Raises:
        BenchError: names file, line, key and what to do.
    """
    _check_file_names(protocol)
    if protocol.paper and protocol.paper not in PRINTED:
        raise BenchError(
            f"{protocol.where(('paper',))}: {unknown('paper', protocol.paper, PRINTED)}"
        )
    for name, row in protocol.rows.items():
        _check_row(protocol, name, row)
    if not protocol.stated.drawn:
        crops_check(protocol)
    for number, metric in enumerate(protocol.metrics if not protocol.stated.drawn else ()):
        try:
            unit(metric)
        except BenchError as error:
            raise BenchError(f"{protocol.where(('metrics', str(number)))}: {error}") from None
    _check_section_names(protocol)
    protocol.stated.build(Recipe, protocol.recipe, ("recipe",))
    for i, target in enumerate(protocol.finetune):
        _check_section(protocol, target, ("finetune", str(i)))
    if protocol.pretrain is not None:  # also where no row reads it
        _has_budget(protocol, protocol.pretrain, ("pretrain",))
        _has_mixture(protocol, protocol.pretrain, ("pretrain",))
    _check_picture(protocol)
    _check_groups(protocol)
    views.check(protocol)
    _check_cells(protocol)
    _check_quoted(protocol)
    if protocol.baseline != "none" and not protocol.stated.drawn:
        _has_baseline(protocol)


LACKING = {  # what no row is, by the control that would stand beside it
    "long": "is from scratch on a network that another pretrains here",
    "intensity": "is from scratch under 'evaluation: probe' of label maps",
}


def _check_cells(protocol: Protocol) -> None:
    """Refuse sections and controls without a row, and rows that are called as a variant of another is."""
    for i, section in enumerate(protocol.sections):
        if protocol.rows and not protocol.rows_in(i):
            where = protocol.where(("finetune", str(i)))
            raise BenchError(
                f"{where}: no row uses section {section!r}; leave it out, or name it in a row"
            )
    controls = {
        control
        for row in protocol.rows.values()
        for i in protocol.sections_of(row)
        for control in controls_of(protocol, row, i)
    }
    for number, control in enumerate(protocol.controls):
        if control not in (*controls, *ceilings.CONTROLS):
            where = protocol.where(("controls", str(number)))
            lacking = LACKING.get(control, "starts from weights")
            raise BenchError(f"{where}: no row {lacking}; leave it out")
    for name, row in protocol.rows.items():
        for variant in _variants(protocol, name, row):
            for kind in ("rows", "published_only"):
                if variant in getattr(protocol, kind):
                    where = protocol.where((kind, variant))
                    raise BenchError(
                        f"{where}: a variant of row {name!r} has this name; give this row another name"
                    )


def unread(protocol: Protocol) -> list[str]:
    """Return a line for each key of an optimiser or a schedule that it does not read: ids alone depend on it."""
    lines = dict[str, str]()
    for row, section, training in _trainings(protocol):
        for kind in ("optimiser", "schedule"):
            settings = getattr(training, kind)
            for key in settings.unread:
                of_row = ("rows", row, section[0], kind, key)
                where = protocol.where(
                    of_row if of_row in protocol.stated.lines else (*section, kind, key)
                )
                lines[where] = (
                    f"{where}: the {kind} {settings.name!r} does not read {key!r}, so it changes nothing"
                )
    return [f"{line}; leave it out" for line in lines.values()]


def _trainings(protocol: Protocol) -> Iterator[tuple[str, Keys, Training]]:
    """Yield each training of a protocol, with its row and the keys of its section."""
    for name, row in protocol.rows.items():
        for i in protocol.sections_of(row):
            yield name, ("finetune", str(i)), finetune_of(protocol, i, row)
            if pretrains(protocol, row):
                yield name, ("pretrain",), pretrain_of(protocol, row, i)


def _check_quoted(protocol: Protocol) -> None:
    """Refuse lines that are only quoted where nothing says from where."""
    for name, quoted in protocol.published_only.items():
        where = protocol.where(("published_only", name))
        if not name or name != printable(name):
            raise BenchError(
                f"{where}: {name[:80]!r} cannot be printed as a name; write one line of text"
            )
        if not quoted.published.strip():
            raise BenchError(
                f"{where}: 'published' is empty; write the name that this row has in results/published/<paper>.csv"
            )
        if not protocol.paper or not protocol.table:
            raise BenchError(
                f"{where}: the source of the published number is missing; write 'paper' and 'table'"
            )


def _check_picture(protocol: Protocol) -> None:
    if protocol.embeddings is None:
        return
    if protocol.pretrain is None:
        where = protocol.where(("embeddings",))
        raise BenchError(
            f"{where}: shows data of the pretraining, but the protocol has no 'pretrain'; add 'pretrain', or "
            "leave 'embeddings' out"
        )
    for name, panel in protocol.embeddings.beside.items():
        if panel.network not in protocol.networks:
            where = protocol.where(("embeddings", "beside", name, "network"))
            raise BenchError(f"{where}: {unknown('network', panel.network, protocol.networks)}")


def _check_groups(protocol: Protocol) -> None:
    tested = dict.fromkeys(section.dataset for section in protocol.finetune)
    for name in protocol.groups:
        if name not in tested:
            where = protocol.where(("groups", name))
            raise BenchError(f"{where}: {unknown('data set of this protocol', name, tested)}")


def _variants(protocol: Protocol, name: str, row: Row) -> list[str]:
    """Return the names under which the records have a row besides its own."""
    tuned = [finetune_of(protocol, i, row) for i in protocol.sections_of(row)]
    controls = {c: None for i in protocol.sections_of(row) for c in controls_of(protocol, row, i)}
    variants = [labelled(name, control) for control in controls]
    last = any(section.select == "best_test" for section in tuned)
    return variants + [labelled(n, "last") for n in (name, *variants) if last]


def _data_sets(value: Any, keys: Keys = ()) -> dict[tuple[str, ...], str]:
    """Return every data set that is named anywhere, by where it stands; ``where`` is of cases."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    names: dict[tuple[str, ...], str] = {}
    for key, item in items:
        at = (*keys, str(key))
        if key == "dataset" and isinstance(item, str):
            names[at] = item
        elif isinstance(item, dict | list) and (key != "where" or keys[-1:] == ("rows",)):
            names |= _data_sets(item, at)
    return names


def _check_file_names(protocol: Protocol) -> None:
    """Refuse names that would lead out of the folders in which files are named after them."""
    names = {("name",): protocol.name, **_data_sets(protocol.stated.value)}
    names |= {
        ("finetune", str(i), "name"): t.name for i, t in enumerate(protocol.finetune) if t.name
    }
    names |= {("phantoms", name): name for name in protocol.phantoms}
    for keys, name in names.items():
        plain = name and name[0] not in ".-" and not {*"/\\"} & {*name} and name == printable(name)
        if not plain or len(name.encode()) > LONGEST:
            raise BenchError(
                f"{protocol.where(keys)}: {name[:80]!r} becomes the name of a file or folder; use "
                f"letters, digits, '_', '-' and '.', at most {LONGEST}"
            )


def _check_row(protocol: Protocol, name: str, row: Row) -> None:
    keys = ("rows", name)
    methods = registry.names("method")
    if row.method not in methods and not protocol.stated.drawn:
        where = protocol.where((*keys, "method"))
        raise BenchError(f"{where}: {unknown('method', row.method, methods)}")
    if row.network not in protocol.networks:
        where = protocol.where((*keys, "network"))
        raise BenchError(f"{where}: {unknown('entry of networks', row.network, protocol.networks)}")
    if row.init and (row.at is not None or row.pretrain or not method_pretrains(row)):
        raise BenchError(
            f"{protocol.where((*keys, 'init'))}: the weights come from this file; name the method that made "
            "them, and leave 'pretrain' and 'at' out"
        )
    if row.at is not None and not method_pretrains(row):
        where = protocol.where((*keys, "at"))
        raise BenchError(
            f"{where}: method {row.method!r} is not pretrained and has no snapshots; leave it out"
        )
    if pretrains(protocol, row):
        _check_pretraining(protocol, name, row)
    _check_tuning(protocol, name, row)


def _check_pretraining(protocol: Protocol, name: str, row: Row) -> None:
    if row.ceiling:
        ceilings.check(protocol, name, row)
        return
    if row.dose != 1:
        raise BenchError(
            f"{protocol.where(('rows', name, 'dose'))}: only a row with 'ceiling: true' has this key; leave it out"
        )
    if protocol.pretrain is None:
        raise BenchError(
            f"{protocol.where(('rows', name))}: needs a 'pretrain' section, or 'init: FILE'"
        )
    for i in protocol.sections_of(row):
        section = pretrain_of(protocol, row, i)
        keys = pretrain_keys(protocol, name, row, i)
        _has_budget(protocol, section, keys)
        _has_mixture(protocol, section, keys)
        if section.network and section.network not in protocol.networks:
            text = unknown("entry of networks", section.network, protocol.networks)
            raise BenchError(f"{protocol.where((*keys, 'network'))}: {text}")


def _check_tuning(protocol: Protocol, name: str, row: Row) -> None:
    for key in SHARED:
        if key in row.finetune:
            where = protocol.where(("rows", name, "finetune", key))
            raise BenchError(
                f"{where}: a row cannot change this; set it in the 'finetune' section, for all rows"
            )
    for i in protocol.sections_of(row):
        tuned = finetune_of(protocol, i, row)
        keys: Keys = ("rows", name, "finetune") if row.finetune else ("finetune", str(i))
        _check_section(protocol, tuned, keys)
        _check_grid(protocol, name, i, tuned)
        net = tuned_net(protocol, row, tuned)
        if "z" in tuned.inference.mirror and net.crop[2] == 1:
            where = protocol.where((*keys, "inference", "mirror"))
            raise BenchError(f"{where}: windows of one slice have no z to flip; use x and y")


def _check_grid(protocol: Protocol, name: str, index: int, tuned: Finetune) -> None:
    """Refuse a row's value of which every recipe of a grid has another."""
    lines, of_row = protocol.stated.lines, ("rows", name, "finetune")
    for key, tried in (tuned.tune.over if tuned.tune else {}).items():
        stated = (*of_row, *SHORT.get(key, key).split("."))
        if stated not in lines or any(isinstance(value, dict) for value in tried):
            continue
        in_row = (*of_row, "tune") in lines
        grid = (*(of_row if in_row else ("finetune", str(index))), "tune", "over", key)
        instead = "" if in_row else ", or write 'tune: null' beside it to use this value"
        raise BenchError(
            f"{protocol.where(stated)}: {'.'.join(grid)} (line {lines.get(grid, '?')}) sets this key, and its values "
            f"replace this one; remove one of them{instead}"
        )


def _check_section_names(protocol: Protocol) -> None:
    for i, name in enumerate(protocol.sections):
        if name in protocol.sections[:i]:
            where = protocol.where(("finetune", str(i), "name"))
            raise BenchError(
                f"{where}: two sections are called {name!r}; give each a 'name' of its own"
            )


def _check_section(protocol: Protocol, target: Finetune, keys: Keys) -> None:
    if target.evaluation != "probe" or target.steps is not None or target.epochs is not None:
        _has_budget(protocol, target, keys)
    if target.select == "best_test" and protocol.scale != "paper":
        raise BenchError(
            f"{protocol.where((*keys, 'select'))}: best_test exists for the 'paper' scale only; "
            "use last or best_val"
        )


def _has_budget(protocol: Protocol, section: Any, keys: Keys) -> None:
    if (section.steps is None) == (section.epochs is None):
        problem = "both are given" if section.steps is not None else "none is given"
        raise BenchError(
            f"{protocol.where(keys)}: set the budget once, as 'steps' or as 'epochs'; here {problem}"
        )


def _has_mixture(protocol: Protocol, section: Pretrain, keys: Keys) -> None:
    try:
        mixture.parts(section)
    except BenchError as error:
        raise BenchError(f"{protocol.where((*keys, 'mixture'))}: {error}") from None


def _has_baseline(protocol: Protocol) -> None:
    for index, section in enumerate(protocol.sections):
        for name, row in protocol.rows_in(index).items():
            near, where = baseline_of(protocol, index, row), protocol.where(("rows", name))
            if near is None:
                on = f" in section {section!r}" if len(protocol.sections) > 1 else ""
                raise BenchError(
                    f"{where}: nothing to compare with{on}; add a row with 'method: scratch' on network "
                    f"{row.network!r}, or write 'baseline: none'"
                )
            trained = finetune_of(protocol, index, row).evaluation != "as_loaded"
            if near[1] and trained and method_pretrains(row) and protocol.baseline != "unequal":
                keys = first_of(sorted(near[1]), LISTED)
                raise BenchError(
                    f"{where}: is fine-tuned on {section!r} with other settings than its baseline, row {near[0]!r}: "
                    f"{keys}; use the same settings, let each row choose its own by 'tune', or write "
                    "'baseline: unequal' to allow it"
                )


# Crops that networks cannot be trained on: all of a protocol's in one message, with what to take.
@dataclass(frozen=True)
class Reader:
    """Who reads crops of a network, and the key that states them; ``section``: of a row that pretrains."""

    net: Net
    keys: Keys
    row: str = ""
    section: Pretrain | None = None


def crops_check(protocol: Protocol) -> None:
    """Look at every crop that a network is to read.

    Raises:
        BenchError: an unknown network or preset, or crops that do not fit: each with file, line and key, its
            rows, and the nearest crop that fits all of these.
    """
    by_net: dict[Net, list[Reader]] = {}
    for reader in _readers(protocol):
        by_net.setdefault(reader.net, []).append(reader)
    faults = list[str]()
    for net, readers in by_net.items():
        where = protocol.where(readers[0].keys)
        try:
            catalog.preset(net.network, net.preset)
        except BenchError as error:
            raise BenchError(f"{where}: {error}") from None
        try:
            catalog.check_crop(net.network, net.preset, net.crop)
        except BenchError as error:
            faults.append(f"{where}: {_message(protocol, net, readers, str(error))}")
    if faults:
        raise BenchError("; ".join(faults))


def _readers(protocol: Protocol) -> Iterator[Reader]:
    """Yield whoever reads crops: the networks themselves first, which state most of them."""
    for name, net in protocol.networks.items():
        yield Reader(net, ("networks", name))
    for name, row in protocol.rows.items():
        for i in protocol.sections_of(row):
            tuned = finetune_of(protocol, i, row)
            keys: Keys = ("rows", name, "finetune") if row.finetune else ("finetune", str(i))
            yield Reader(tuned_net(protocol, row, tuned), (*keys, "crop"), name)
            if pretrains(protocol, row) and not row.ceiling:
                section = pretrain_of(protocol, row, i)
                keys = pretrain_keys(protocol, name, row, i)
                yield Reader(pretrained_net(protocol, row, i), (*keys, "crop"), name, section)


def pretrain_keys(protocol: Protocol, name: str, row: Row, index: int) -> Keys:
    """Return the keys of the section that says how a row is pretrained for a fine-tuning section."""
    if row.pretrain:
        return ("rows", name, "pretrain")
    stated = protocol.finetune[index].pretrain
    return ("finetune", str(index), "pretrain") if stated else ("pretrain",)


def _message(protocol: Protocol, net: Net, readers: list[Reader], why: str) -> str:
    """Return what is wrong with a crop, whose it is, and the nearest that fits all of these."""

    def fits(crop: Triple) -> bool:
        return all(_reads(protocol, reader, crop) for reader in readers)

    take = nearest(net.network, net.preset, net.crop, fits)
    take = take or nearest(net.network, net.preset, net.crop)
    rows = list(dict.fromkeys(reader.row for reader in readers if reader.row))
    if take is None:
        return why
    of = f" (row{'s' * (len(rows) > 1)} {', '.join(rows)})" if rows else ""
    many = "all of these rows" if len(rows) > 1 else "it"
    return f"{why.partition('; use ')[0]}{of}; use {list(take)}, the nearest that fits {many}"


def _reads(protocol: Protocol, reader: Reader, crop: Triple) -> bool:
    """Tell whether a row's method can be pretrained on a crop, by what is known before data are looked at."""
    section = reader.section
    if section is None:
        return True
    row = protocol.rows[reader.row]
    recipe = section.recipe if isinstance(section.recipe, Recipe) else Recipe()
    try:
        params = registry.load("method", row.method).make_params(row.params)
        params.check(crop, recipe)
        params.check_batch(reader.net.full_name, crop, section.batch, 1)
    except BenchError:
        return False
    return True
