"""What stands under the tables: how the numbers came about, and from where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from bench.metrics.request import LESION, tolerance
from bench.nets import public_weights
from bench.protocol import (
    Finetune,
    Protocol,
    Quoted,
    Row,
    from_scratch,
    method_pretrains,
    pretrain_of,
    pretrains,
    row_of,
)
from bench.protocol.comparable import unequal
from bench.protocol.sections import Initial, OnlineProbe
from bench.report import learning, registration, selected, settings_tables, undertrained
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.errata import same_methods, table_title
from bench.report.footnotes import counted
from bench.report.names import dataset_info, metric_title, setting_words
from bench.report.pretrainings import explained
from bench.report.published import MEANS, dagger, plain, printed_name, same_target
from bench.report.sections import FILES, Note, Notes, Section
from bench.report.supplement import Extras
from bench.report.tabular import Table
from bench.source import Source

if TYPE_CHECKING:
    import pandas as pd

CONVENTIONS = {
    "medpy": "a voxel is on the surface if any of its 6 face neighbours is outside the mask, and distances in both "
    "directions are pooled, as in MedPy",
    "monai": "computed as in MONAI",
    "deepmind": "computed as in DeepMind's surface-distance (surface elements weighted by area)",
}
LESIONS = (
    "Lesions are connected components of a target (26 neighbours; 4 in a picture). They are matched one to one at an "
    "IoU of 0.5 or more, as in panoptica 2.1.7. Lesion sizes are those of the reference. RQ, SQ, PQ and Dice of "
    "lesions are 0 without a match and undefined without a lesion."
)

DRIFT = (
    "loaded batch norms keep their statistics while loaded parameters have the full learning rate. The features "
    "can move away from these statistics, and this alone can make a row worse than scratch (docs/finetuning.md)."
)
FAVOURED = (
    "scratch has only one of the recipes, and the other rows choose. The choice alone can then seem to be a gain, "
    "because a lucky run validates best, too. “runs: others” prevents this (docs/finetuning.md)."
)
CONTROLS = {
    "random": "Rows marked “(random)” have the same fine-tuning, but start from random weights.",
    "shuffled": "Rows marked “(shuffled)” start from the pretrained weights of the row of the same name; the values "
    "within each tensor are shuffled.",
    "long": "Rows marked “(long)” start from scratch and are fine-tuned longer, on more training samples. The number "
    "of extra samples is that of the longest pretraining of the network, so they train for more steps than the "
    "section says. These rows show what longer training alone gives.",
    "ceiling": "The ceiling is pretrained with the labels of all training scans of the section.",
    "doses": "A dose is a mixture of random weights and the ceiling's weights; dose 0.25 has a quarter of the "
    "ceiling's weights.",
    "intensity": "“Intensity alone” has no encoder. Its probe reads the intensity of a voxel, and mean and standard "
    "deviation in cubes of 3, 5 and 9 voxels around the voxel.",
}


def sections(report: ReportContext, records: pd.DataFrame) -> list[Section]:
    """Return the notes, each block that has something to say in the order of print."""
    protocol, extras = report.protocol, report.extras
    # a paper's protocol is what its paper scale states
    of_paper = " of the paper scale" if protocol.paper and protocol.scale != "paper" else ""
    clouds = [explained(extras.clouds)] if extras.clouds else []
    blocks: list[Notes | Table | None] = [
        Notes("Was scratch trained?", _plain(undertrained.notes(report))),
        Notes("The same prediction for every test case", _plain(extras.constant)),
        Notes("How to read the numbers", _plain(_reading(report))),
        settings_tables.splits(report, records),
        settings_tables.pretrained(report, records),
        settings_tables.finetuned(report),
        Notes("Training", _plain(_training(report, records))),
        Notes("What fine-tuning starts from", _plain(_taken_over(report))),
        Notes("Weights of the pretrainings", _plain(extras.weights)),
        Notes("Scores copied from other results", _plain(_imported(report))),
        Notes("Embeddings", _plain((*clouds, *extras.absent))),
        Notes(OTHER_PAPERS, _plain(other_papers(report))),
        Notes("Predicted for the challenge's server", _plain(extras.submissions)),
        Notes(f"Notes{of_paper}", _plain(protocol.notes + extras.notes)),
        Notes(f"Deviations and assumptions{of_paper}", _plain(_unlike(protocol))),
        Notes("Sources of the methods", _method_sources(protocol, extras)),
        Notes("Sources of the data sets", _dataset_sources(report)),
        Notes(
            "Made by another version of the code",
            _plain(f"{t[0].upper()}{t[1:]}." for t in extras.other_source),
        ),
        Notes("Registration", _plain(registration.sentences(protocol, extras.registered))),
        Notes("Provenance", _plain(f"{k}: {v}" for k, v in extras.provenance.items())),
    ]
    parts = [b for b in blocks if b is not None and (not isinstance(b, Notes) or b.notes)]
    return [Section("Notes", parts, "notes", "Notes", forms=FILES)]


def _plain(texts: Iterable[str]) -> tuple[Note, ...]:
    return tuple(map(Note, texts))


def _unlike(protocol: Protocol) -> list[str]:
    """Return where a protocol knowingly differs from its paper, and what it had to assume."""
    by_kind = {"Deviation": protocol.deviations, "Assumed": protocol.assumed}
    return [f"{kind}: {text}" for kind, texts in by_kind.items() for text in texts]


def _reading(report: ReportContext) -> list[str]:
    protocol = report.protocol
    notes = [
        report.cells.how,
        "Overlap and other scores from 0 to 1 are printed in percent, distances in mm, volumes in ml, "
        "all with two decimals. table.csv has these scores from 0 to 1.",
    ]
    if report.published.any:
        of_real = " on real scans" if report.synthetic else ""
        notes.append(
            f"Published: the number that the paper prints{of_real} for the same data set, target and label "
            "fraction. In brackets: ours minus published."
        )
        notes += [dagger()] if report.published.marked else []
        if report.synthetic:
            notes.append("On synthetic scans no difference to a published number is printed.")
        elif protocol.scale != "paper":
            notes.append(
                f"At {protocol.scale} scale the budget is not the paper's, so a difference to the "
                "published number says nothing about the method."
            )
    if protocol.expected:
        scale = " at paper scale" if protocol.scale != "paper" else ""
        notes.append(f"Expected{scale}: {protocol.expected}")
    if any(target.track and target.track.part == "test" for target in protocol.finetune):
        notes.append(learning.peeked(protocol))
    metrics = ", ".join(metric_title(m) for m in report.metrics)
    surfaces = any(report.unit(m) == "mm" or tolerance(m) is not None for m in report.metrics)
    how = f" Surface distances (convention {protocol.convention}): {CONVENTIONS[protocol.convention]}."
    notes.append(f"Metrics: {metrics}.{how * surfaces}")
    if any(metric.startswith(LESION) for metric in report.metrics):
        notes.append(LESIONS)
    return notes + selected.not_shown(report)


def _imported(report: ReportContext) -> Iterator[str]:
    """Yield which cells of rows were not run here, and whose records they are of."""
    by_row: dict[str, dict[str, list[int]]] = {}
    for cell in report.extras.taken:
        by_row.setdefault(cell.row, {}).setdefault(cell.place, []).append(cell.fraction)
    texts, foreign = {}, False
    for row, of in by_row.items():
        parts = []
        for origin, fractions in of.items():
            shares = ", ".join(f"{share} %" for share in sorted({*fractions}))
            _, _, study = origin.rpartition("an earlier run of ")
            same_study = study.partition(" in ")[0] == report.protocol.name
            foreign |= not same_study
            whence = f"the results of {origin}"
            if same_study:
                folder = study.partition(" in ")[2]
                whence = f"an earlier run of this study{f' in {folder}' if folder else ''}"
            parts.append(
                f"{counted(len(fractions), 'cell')} each copied from {whence}, {shares} of the labels"
            )
        texts[row] = "; ".join(parts)
    yield from _alike(report, texts, "{}.")
    if foreign:
        yield (
            "Verdicts on copied scores can differ from those on the page of the other study: p is adjusted over the "
            "rows of a section on each page."
        )


def _training(report: ReportContext, records: pd.DataFrame) -> list[str]:
    protocol = report.protocol
    notes = []
    if report.extras.overrides:
        notes.append(f"Changed on the command line: {report.extras.changed}.")
    rows = protocol.rows.values() if protocol.pretrain is not None else ()
    sections = range(len(protocol.finetune))
    every = [
        pretrain_of(protocol, row, i) for row in rows if pretrains(protocol, row) for i in sections
    ]
    shown = ". Curves of pretraining losses, embeddings and predictions show the first seed."
    paired = [section.paired for section in every]
    if any(paired):
        each = "Each" if all(paired) else "In some rows each"
        notes.append(f"{each} fine-tuning seed has a pretraining with the same seed{shown}")
    else:
        seeds = max((section.every_seed((0,)) for section in every), key=len, default=())
        if len(seeds) > 1:
            listed = ", ".join(map(str, seeds))
            notes.append(
                "Each pretraining of a row is combined with every fine-tuning seed; rows have up to "
                f"{len(seeds)} pretrainings (seeds {listed}){shown}"
            )
    notes += dict.fromkeys(
        _probed(report, section.probe) for section in every if section.probe is not None
    )
    notes += unequal(protocol) if protocol.baseline == "unequal" else []
    notes += _references(report)
    ran = dict(records[["row", "params"]].drop_duplicates().itertuples(index=False, name=None))
    params = {
        name: ran.get(name, json.dumps(row.params, sort_keys=True))
        for name, row in protocol.rows.items()
    }
    differ = {name: _settings(text) for name, text in params.items() if text not in ("", "{}")}
    notes += _alike(report, differ, "parameters other than the method's defaults: {}.")
    return [
        *notes,
        *(f"{text}." for text in report.extras.oversized),
        *([f"Cost, as the protocol states it: {protocol.cost}"] if protocol.cost else []),
    ]


def _settings(params: str) -> str:
    """Return a JSON object as ``key = value, ...``; what is none, as it is."""
    try:
        values = json.loads(params)
    except ValueError:
        return params
    if not isinstance(values, dict):
        return params
    shown = ((key, v if isinstance(v, str) else json.dumps(v)) for key, v in values.items())
    return ", ".join(f"{key} = {text}" for key, text in shown)


def _alike(report: ReportContext, texts: Mapping[str, str], sentence: str = "{}.") -> Iterator[str]:
    """Yield what is said of each row, rows of the same text together."""
    rows: dict[str, list[str]] = {}
    for row, text in texts.items():
        rows.setdefault(text, []).append(row)
    for text, names in rows.items():
        yield f"{'; '.join(map(report.quoted, names))}: {sentence.format(text)}"


def _references(report: ReportContext) -> Iterator[str]:
    """Yield what each row from scratch is that no pretrained row shares its network with: no baseline."""
    protocol = report.protocol
    compared = {row.network for row in protocol.rows.values() if method_pretrains(row)}
    for name, row in protocol.rows.items():
        if not compared or row.network in compared or not row.finetune:
            continue
        yield (
            f"{report.quoted(name)} is a reference with its own settings (see “Fine-tuning”). Its network, "
            "settings and budget differ from those of the other rows, and no row is pretrained on its network. "
            "So it is not a control of a pretraining, and no difference from it is computed."
        )


def _probed(report: ReportContext, probe: OnlineProbe) -> str:
    """Return whose labels an online probe reads, how often, and what for."""
    title = dataset_info(probe.dataset, report.extras).title
    return (
        f"Every {probe.every} steps of pretraining the online probe reads the labels of {probe.patients} training "
        f"patients of {title}: {probe.fitted} to fit the probe, {probe.patients - probe.fitted} to score it. The "
        "probe selects nothing and does not change the weights."
    )


def _taken_over(report: ReportContext) -> list[str]:
    """Return what each row took over, whence, and what its controls are."""
    starts = {}
    for row, text in report.extras.receipts.items():
        declared, _ = row_of(report.protocol, row)
        given = Initial.of(declared.init) if declared and declared.init else None
        start = _start(given) if given is not None and given.file else ""
        starts[row] = start + _mixed(declared, text)
    notes = [*_alike(report, starts)]
    notes += [
        f"{report.quoted(row)} {setting_words(_titled(report, text))}.{_uncounted(report, row)}"
        for row, text in report.extras.choices.items()
    ]
    return [*notes, *_cautions(report), *(CONTROLS[c] for c in report.protocol.controls)]


def _mixed(declared: Row | None, text: str) -> str:
    """Return what a row took over; of a dose of a ceiling, how much of each weight is the ceiling's."""
    maker, _, rest = text.partition("; ")
    if declared is None or not declared.ceiling or declared.dose == 1 or not rest:
        return text
    if not declared.dose:
        return "nothing of a pretraining is kept"
    share = f"{100 * declared.dose:g} % of each weight"
    return f"{share} is {maker.removeprefix('the weights are ')}, the rest is random; {rest}"


def _titled(report: ReportContext, text: str) -> str:
    """Return a text with the titles of sections for their names."""
    for label, name in zip(report.labels, report.protocol.sections, strict=True):
        text = text.replace(f"Section “{name}”", f"“{label}”")
    return text


def _cautions(report: ReportContext) -> list[str]:
    """Return what settings alone may do to a comparison, and in which sections."""
    sections_of: dict[str, list[str]] = {DRIFT: [], FAVOURED: []}
    labelled = zip(report.labels, report.protocol.finetune, strict=True)
    for index, (label, target) in enumerate(labelled):
        if not (target.external or all(map(from_scratch, report.protocol.rows_in(index).values()))):
            sections_of[DRIFT] += [f"“{label}”"] if _drifts(target) else []
            sections_of[FAVOURED] += [f"“{label}”"] if _favours(target) else []
    return [f"{', '.join(labels)}: {caution}" for caution, labels in sections_of.items() if labels]


def _drifts(target: Finetune) -> bool:
    """Tell whether weights train at the full rate under the norm statistics that they came with."""
    updated = target.evaluation == "end_to_end" and target.loaded.frozen < 1 and not target.tune
    return target.norm == "kept" and updated and target.loaded.rate in (None, target.optimiser.lr)


def _favours(target: Finetune) -> bool:
    """Tell whether rows choose a recipe by their own runs, and scratch has nothing to choose."""
    tune = target.tune
    if tune is None or tune.on == "folds":  # no run chooses itself
        return False
    return tune.spares_scratch and tune.runs != "others"


def _uncounted(report: ReportContext, row: str) -> str:
    """Return how many runs of a row were copied, where others were run here: its choices are of the latter."""
    sections = zip(report.protocol.sections, report.protocol.finetune, strict=True)
    tuned = {(row, name) for name, target in sections if target.tune}
    copied = sum((cell.row, cell.section) in tuned for cell in report.extras.taken)
    trained = sum((course.row, course.section) in tuned for course in report.extras.courses)
    return f" Not counted: {counted(copied, 'copied run')}." if 0 < copied < trained else ""


def _start(given: Initial) -> str:
    """Return from which file a row starts, and what it says of it."""
    parts = [
        f"the weights are from {given.file}",
        "they were pretrained elsewhere, so no guard looked for test cases in their pretraining data",
    ]
    if given.weights:
        public = public_weights.by_name(given.weights)
        parts[0] += f" ({public.title}; {public.cite}; licence: {public.licence})"
        parts[1] += f"; they were trained on {public.data}"
    if given.recipe == public_weights.OTHER:
        parts.append("the scans are prepared by another recipe here than in that training")
    return "; ".join(parts) + "; "


def _method_sources(protocol: Protocol, extras: Extras) -> tuple[Note, ...]:
    methods = dict.fromkeys(row.method for row in protocol.rows.values())
    sources = {m: extras.sources[f"method/{m}"] for m in methods if f"method/{m}" in extras.sources}
    return tuple(_cited(extras.titles.get(m, m), source) for m, source in sources.items())


def _dataset_sources(report: ReportContext) -> tuple[Note, ...]:
    notes = []
    pretrained = (name for run in report.extras.pretrainings for name in run.datasets)
    read = dict.fromkeys([*report.info, *pretrained])
    for name in read:
        info = dataset_info(name, report.extras)
        source = report.extras.sources.get(f"dataset/{name}", info.source)
        licence = f" Licence: {info.licence}." if info.licence else " Licence not stated here."
        if source is not None and info.synthetic:
            notes.append(_cited(f"{info.title} (no scan of it was read)", source))
        elif source is not None:
            notes.append(_cited(info.title, source, licence))
    return tuple(notes)


def _cited(title: str, source: Source, licence: str = "") -> Note:
    code = f" Code: {source.code}" if source.code else ""
    return Note(f"{title}: {source.cite.rstrip('.')}.{code}{licence}", source.url)


# What other papers print for the same cells: of one method, data set, target, fraction and metric.
OTHER_PAPERS = "Other papers on the same cells"
NOTE = "Numbers are as printed. Splits, networks and settings may differ from paper to paper."
COPIED = "copied_from"  # in a note: the paper that a number was taken from


class _Cell(NamedTuple):
    method: str
    scratch: bool  # is it trained from scratch?
    dataset: str
    target: str
    fraction: str
    metric: str


def other_papers(report: ReportContext) -> list[str]:
    """Return one for each number that another paper prints for a cell of this table, in the order of rows."""
    frame, protocol = report.extras.published, report.protocol
    if frame is None or not protocol.table:
        return []
    names = same_methods(report.extras.errata)
    others = _others(frame, protocol.paper, names)
    ours = dict[_Cell, dict[str, Key]]()  # by row
    rows: dict[str, Row | Quoted] = {**protocol.rows, **protocol.published_only}
    for name, row in rows.items():
        method = plain(printed_name(row.published)[0])
        scratch = isinstance(row, Row) and not method_pretrains(row)
        for key in _keys(report, name) if method else ():
            if report.printed(key) is not None:
                datasets, targets, fraction, metric = report.printed_as(key)
                for dataset, target in product(map(plain, datasets), map(_target, targets)):
                    called = names.get(method, method)
                    cell = _Cell(called, scratch, dataset, target, str(fraction), plain(metric))
                    ours.setdefault(cell, {})[name] = key
    texts = dict[str, None]()
    for cell, keys in ours.items():
        for (paper, table), values in others.get(cell, {}).items():
            if len(keys) == len(values) == 1:  # of several settings none is the other's
                (key,) = keys.values()
                texts[
                    f"{_location(report, key)}: {values[0]} in {table_title(table)} of {paper}."
                ] = None
    return [*texts, *([NOTE] if texts else [])]


def _others(
    frame: pd.DataFrame, paper: str, names: dict[str, str]
) -> dict[_Cell, dict[tuple[str, str], list[str]]]:
    """Return by cell what the tables of other papers print for it."""
    by_cell: dict[_Cell, dict[tuple[str, str], list[str]]] = {}
    for r in frame[frame["paper"] != paper].astype(str).itertuples(index=False):
        method, scratch = names.get(plain(r.method), plain(r.method)), r.pretrain == "none"
        share = r.fraction.rstrip("%")
        cell = _Cell(method, scratch, plain(r.dataset), _target(r.target), share, plain(r.metric))
        value = f"{r.value} ({r.note})" if COPIED in r.note else r.value
        by_cell.setdefault(cell, {}).setdefault((r.paper, r.table), []).append(value)
    return by_cell


def _target(name: str) -> str:
    return "" if plain(name) in MEANS else same_target(name)


def _keys(report: ReportContext, row: str) -> Iterator[Key]:
    """Yield every cell of a row; of a section with one target that one alone."""
    for section in range(len(report.protocol.finetune)):
        targets = report.targets(section)
        printed = targets if len(targets) == 1 else (*targets, MEAN)
        for fraction, target, metric in product(report.fractions(section), printed, report.metrics):
            yield Key(row, section, fraction, target, metric)


def _location(report: ReportContext, key: Key) -> str:
    target = report.protocol.layout.mean if key.target == MEAN else key.target
    title = report.titles.get(key.row, key.row)
    metric = metric_title(key.metric)
    return ", ".join((title, report.labels[key.section], target, f"{key.fraction} %", metric))
