"""What stands under the tables: how the numbers came about, and from where."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import registry
from bench.protocol import Finetune, Pretrain, Protocol, finetune_of, mixture, pretrain_of, pretrains, row_of
from bench.protocol.comparable import unequal
from bench.report.extras import Extras
from bench.report.names import metric_title, section_labels
from bench.report.pretext import explained
from bench.report.scene import Scene
from bench.source import Source

if TYPE_CHECKING:
    import pandas as pd

CONVENTIONS = {
    "medpy": "surfaces as in MedPy (6-neighbourhood border voxels, both directions pooled)",
    "monai": "surfaces as in MONAI",
    "deepmind": "surfaces as in DeepMind's surface-distance (elements weighted by area)",
}
EMPTY = {
    "default": "both masks empty: undefined; only the reference empty: overlap 0, distances "
    "undefined; only the prediction empty: overlap 0, distances the volume's diagonal",
    "brats": "both masks empty: overlap 1, distance 0 mm; only one empty: overlap 0, 373.13 mm",
    "skip": "any empty mask: undefined",
}
SELECT = {
    "last": "the weights after the last step are scored",
    "best_val": "the weights best on validation patients are scored",
    "best_test": "the weights best on the test cases are scored, as the paper did: read these "
    "numbers as optimistic",
}


CONTROLS = {
    "random": "Rows (random): the same fine-tuning from fresh weights.",
    "shuffled": "Rows (shuffled): from the same weights, the values within each tensor in random order.",
}


@dataclass(frozen=True)
class Note:
    """One sentence, and a link where it names a source."""

    text: str
    url: str = ""


@dataclass(frozen=True)
class Block:
    """Notes under one heading."""

    heading: str
    notes: tuple[Note, ...]


def blocks(scene: Scene, records: pd.DataFrame) -> list[Block]:
    """Return every block that has something to say, in the order of print."""
    protocol, extras = scene.protocol, scene.extras
    made = [
        Block("How to read the numbers", _reading(protocol, scene)),
        Block("Data and splits", _data(scene, records)),
        Block("Training", _training(scene)),
        Block("What fine-tuning starts from", _starts(scene)),
        Block("Embeddings", _pictured(extras)),
        Block("Deviations and assumptions", tuple(Note(n) for n in protocol.notes + extras.notes)),
        Block("Sources of the methods", _method_sources(protocol, extras)),
        Block("Sources of the data sets", _dataset_sources(scene)),
        _other_source(extras),
        Block("Provenance", tuple(Note(f"{k}: {v}") for k, v in extras.provenance.items())),
    ]
    return [block for block in made if block.notes]


def _other_source(extras: Extras) -> Block:
    """Return what of the numbers today's source files did not make."""
    return Block(
        "Made by other source", tuple(Note(f"{line[0].upper()}{line[1:]}.") for line in extras.other_source)
    )


def _reading(protocol: Protocol, scene: Scene) -> tuple[Note, ...]:
    notes = [
        scene.cells.how,
        "Overlap and other scores from 0 to 1 are printed in percent with two decimals, distances "
        "in mm and volumes in ml with two decimals; table.csv keeps 0 to 1.",
    ]
    if scene.published.any:
        notes.append(
            "Published: the paper's own number for the same data set, target and label fraction; "
            "the difference is ours minus published; † is the paper's mark."
        )
        if protocol.scale != "paper":
            notes.append(
                f"At {protocol.scale} scale the budget is not the paper's, so a difference to the "
                "published number says nothing about the method."
            )
    if protocol.expected:
        notes.append(f"Expected: {protocol.expected}")
    metrics = ", ".join(metric_title(m) for m in scene.metrics)
    masks = any(info.task == "segmentation" for info in scene.info.values())  # of some data set
    how = f"; convention {protocol.convention}: {CONVENTIONS[protocol.convention]}" if masks else ""
    notes.append(f"Metrics: {metrics}{how}.")
    return tuple(Note(n) for n in notes)


def _data(scene: Scene, records: pd.DataFrame) -> tuple[Note, ...]:
    protocol = scene.protocol
    labels = section_labels(protocol, scene.info)
    made = []
    for label, name, target in zip(labels, protocol.sections, protocol.finetune, strict=True):
        same = records["section"].eq(name)
        empty = protocol.empty or scene.info[target.dataset].empty
        made.append(Note(_split(label, target, records[same])))
        if not same.any() or (records[same]["task"] != "classification").any():
            made.append(Note(f"{label}: empty masks, convention {empty}: {EMPTY.get(empty, empty)}."))
    return tuple(made)


def _split(label: str, target: Finetune, rows: pd.DataFrame) -> str:
    hashes = sorted(rows["split_hash"].unique())
    text = f"{label}: split {target.split}"
    if hashes:
        text += f", hash {', '.join(hashes)}"
    used = rows[rows["status"] != "failed"]
    if len(used):
        named = used[used["case"] != ""]  # AUC and kappa are over all cases at once
        if len(named):
            text += f"; {named['patient'].nunique()} test patients, {named['case'].nunique()} test cases"
        sizes = used.groupby("fraction")["n_train"].agg(["min", "max"])
        text += "; training patients " + ", ".join(
            f"{low if low == high else f'{low} to {high}'} at {fraction} %"
            for fraction, low, high in sizes.itertuples()
        )
    seeds = ", ".join(map(str, target.seeds))
    return f"{text}; seeds {seeds}."


def _training(scene: Scene) -> tuple[Note, ...]:
    protocol = scene.protocol
    made = []
    pretrained = any(registry.declared("method", r.method, "pretrains", True) for r in protocol.rows.values())
    if protocol.pretrain is not None and pretrained:
        pre = protocol.pretrain
        made.append(f"Pretraining on {mixture.title(pre)}: {_budget(pre)}{_read(pre, scene)}.")
        every = [pretrain_of(protocol, row).every_seed for row in protocol.rows.values() if pretrains(row)]
        seeds = max(every, key=len, default=())
        if len(seeds) > 1:
            made.append(
                f"Pretraining seeds {', '.join(map(str, seeds))}, each with every fine-tuning seed; curves, "
                "the table of pretrainings, embeddings and predictions show the first."
            )
    made += _tuning(scene)
    made += unequal(protocol) if protocol.baseline == "unequal" else []
    for name, row in protocol.rows.items():
        if row.params or row.pretrain:
            sections = {"pretrain": row.pretrain} if row.pretrain else {}
            differs = json.dumps({**row.params, **sections}, sort_keys=True)
            made.append(f"Row {name} differs from its defaults: {differs}.")
    if protocol.cost:
        made.append(f"Stated cost: {protocol.cost}")
    return tuple(Note(m) for m in made)


def _tuning(scene: Scene) -> list[str]:
    """Return how rows are fine-tuned on each data set: together where the section alone says it."""
    protocol, made = scene.protocol, []
    labels = section_labels(protocol, scene.info)
    for index, (label, target) in enumerate(zip(labels, protocol.finetune, strict=True)):
        own = [name for name, row in protocol.rows.items() if row.finetune]
        if len(own) < len(protocol.rows):
            made.append(f"Fine-tuning on {label}: {_way(target)}.")
        for name in own:
            tuned = finetune_of(protocol, index, protocol.rows[name])
            made.append(f"Row {name}, fine-tuning on {label}: {_way(tuned)}.")
    return made


def _way(target: Finetune) -> str:
    """Return how a section trains and predicts."""
    parts = [
        _budget(target), target.evaluation.replace("_", " "),
        f"loss {target.loss or 'of the task'}", f"held equal over label fractions: {target.held}",
        f"select {target.select}: {SELECT[target.select]}", _predicted(target),
    ]  # fmt: skip
    parts += [f"crop {' x '.join(map(str, target.crop))}"] if target.crop else []
    parts += ["a sigmoid for each region"] if target.head == "regions" else []
    parts += [f"{100 * target.holdout:g} % of the training patients validate"] if target.holdout else []
    parts += [f"the encoder frozen for {100 * target.frozen:g} % of the steps"] if target.frozen else []
    parts += [f"settings {target.settings}"] if target.settings else []
    return "; ".join(parts)


def _starts(scene: Scene) -> tuple[Note, ...]:
    """Return what each row took over, whence, and what its controls are."""
    made = []
    for name, text in scene.extras.receipts.items():
        known, _ = row_of(scene.protocol, name)
        source = f"from {known.init}, pretrained elsewhere, so no guard looked for test cases in it; " if (
            known and known.init
        ) else ""  # fmt: skip
        made.append(f"{name}: {source}{text}.")
    made += [CONTROLS[control] for control in scene.protocol.controls]
    return tuple(Note(m) for m in made)


def _pictured(extras: Extras) -> tuple[Note, ...]:
    """Return what the picture of embeddings shows, and which panels it lacks."""
    said = [explained(extras.clouds)] if extras.clouds else []
    return tuple(Note(text) for text in (*said, *extras.absent))


def _predicted(target: Finetune) -> str:
    """Return how label maps are predicted, in words."""
    window = target.inference
    text = f"windows overlap by {100 * window.overlap:g} %, {window.blend} blending"
    if window.mirror:
        text += f", test-time flips along {', '.join(window.mirror)} (mean of logits)"
    return text


def _read(pre: Pretrain, scene: Scene) -> str:
    """Return how many cases were pretrained on, beside the number that the paper prints."""
    counts = sorted(set(scene.extras.read.values()))
    if not counts:
        return ""
    whole = mixture.mixture(pre.mixture).expected_cases if pre.mixture and not pre.take else None
    return f"; {' or '.join(map(str, counts))} cases were read" + (f" of {whole} expected" if whole else "")


def _budget(section: Pretrain | Finetune) -> str:
    if section.steps is not None:
        length = f"{section.steps} steps"
    else:
        length = f"{section.epochs:g} epochs with {section.crops} crops per case"
    optimiser = section.optimiser
    return (
        f"{length}, batch {section.batch}, {optimiser.name} at {optimiser.lr:g}, "
        f"{section.schedule.name} schedule, {section.precision}"
    )


def _method_sources(protocol: Protocol, extras: Extras) -> tuple[Note, ...]:
    methods = dict.fromkeys(row.method for row in protocol.rows.values())
    return tuple(
        _cited(extras.titles.get(m, m), extras.sources[f"method/{m}"])
        for m in methods
        if f"method/{m}" in extras.sources
    )


def _dataset_sources(scene: Scene) -> tuple[Note, ...]:
    made = []
    for name, info in scene.info.items():
        source = scene.extras.sources.get(f"dataset/{name}", info.source)
        if source is None:
            continue
        licence = f" Licence: {info.licence}." if info.licence else ""
        note = _cited(info.title, source)
        made.append(Note(note.text + licence, note.url))
    return tuple(made)


def _cited(title: str, source: Source) -> Note:
    code = f" Code: {source.code}" if source.code else ""
    return Note(f"{title}: {source.cite.rstrip('.')}.{code}", source.url)
