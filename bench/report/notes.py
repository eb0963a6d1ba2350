"""What stands under the tables: how the numbers came about, and from where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.metrics.request import LESION
from bench.nets import public_weights
from bench.protocol import (
    Finetune,
    Protocol,
    finetune_of,
    method_pretrains,
    mixture,
    pretrain_of,
    pretrains,
    row_of,
)
from bench.protocol.comparable import unequal
from bench.protocol.sections import Group, Initial, OnlineProbe, Track, Tune
from bench.report import learning, other_papers, undertrained
from bench.report.context import ReportContext
from bench.report.footnotes import counted
from bench.report.names import EVALUATIONS, dataset_info, metric_title
from bench.report.pretrainings import explained
from bench.report.published import dagger
from bench.report.sections import FILES, Note, Notes, Section
from bench.report.supplement import Extras, Pretraining, Registered
from bench.source import Source

if TYPE_CHECKING:
    import pandas as pd

CONVENTIONS = {
    "medpy": "a voxel is on the surface if any of its 6 face neighbours is outside the mask, and distances in both "
    "directions are pooled, as in MedPy",
    "monai": "computed as in MONAI",
    "deepmind": "computed as in DeepMind's surface-distance (surface elements weighted by area)",
}
EMPTY = {
    "default": "If both masks are empty, the scores are undefined. If only the reference is empty, overlap is 0 and "
    "distances are undefined. If only the prediction is empty, overlap is 0 and distances are the diagonal of the "
    "volume",
    "brats": "If both masks are empty, overlap is 1 and distance is 0 mm. If only one mask is empty, overlap is 0 and "
    "distance is 373.13 mm",
    "skip": "If any mask is empty, the scores are undefined",
}
LESIONS = (
    "Lesions are connected components of a target (26 neighbours; 4 in a picture). They are matched one to one at an "
    "IoU of 0.5 or more, as in panoptica 2.1.7. Lesion sizes are those of the reference. RQ, SQ, PQ and Dice of "
    "lesions are 0 without a match and undefined without a lesion."
)
SELECT = {
    "last": "those after the last step",
    "best_val": "those with the best score on validation patients",
    "best_test": "those with the best score on the test cases, as in the paper, so these numbers are optimistic",
}

CONTROLS = {
    "random": "Rows marked “(random)” have the same fine-tuning, but start from random weights.",
    "shuffled": "Rows marked “(shuffled)” start from the pretrained weights of the row of the same name; the values "
    "within each tensor are shuffled.",
    "long": "Rows marked “(long)” start from scratch and are fine-tuned longer, on more training samples. The number "
    "of extra samples is that of the longest pretraining of the network. These rows show what longer training "
    "alone gives.",
    "ceiling": "The ceiling is pretrained with the labels of all training scans. Its pretraining has the settings of "
    "the section's fine-tuning.",
    "doses": "A dose is a mixture of random weights and the ceiling's weights; dose 0.25 has a quarter of the "
    "ceiling's weights.",
    "intensity": "Rows marked “(intensity)” have no encoder. Their probe reads the intensity of a voxel, and mean "
    "and standard deviation in cubes of 3, 5 and 9 voxels around the voxel.",
}


def sections(report: ReportContext, records: pd.DataFrame) -> list[Section]:
    """Return the notes, each block that has something to say in the order of print."""
    protocol, extras = report.protocol, report.extras
    # a paper's protocol is what its paper scale states
    of_paper = " of the paper scale" if protocol.paper and protocol.scale != "paper" else ""
    clouds = [explained(extras.clouds)] if extras.clouds else []
    blocks = [
        Notes("Was scratch trained?", _plain(undertrained.notes(report))),
        Notes("How to read the numbers", _plain(_reading(report))),
        Notes("Data and splits", _data(report, records)),
        Notes("What each row was pretrained on", _plain(_pretrained(report, records))),
        Notes("Training", _plain(_training(report, records))),
        Notes("What fine-tuning starts from", _plain(_taken_over(report))),
        Notes("Weights of the pretrainings", _plain(extras.weights)),
        Notes("Scores from the results of another study", _plain(_imported(report))),
        Notes("Embeddings", _plain((*clouds, *extras.absent))),
        Notes(other_papers.HEADING, _plain(other_papers.sentences(report))),
        Notes("Predicted for the challenge's server", _plain(extras.submissions)),
        Notes(f"Notes{of_paper}", _plain(protocol.notes + extras.notes)),
        Notes(f"Deviations and assumptions{of_paper}", _plain(_unlike(protocol))),
        Notes("Sources of the methods", _method_sources(protocol, extras)),
        Notes("Sources of the data sets", _dataset_sources(report)),
        Notes(
            "Made by another version of the code",
            _plain(f"{t[0].upper()}{t[1:]}." for t in extras.other_source),
        ),
        Notes("Registration", _plain(_registration(extras.registered))),
        Notes("Provenance", _plain(f"{k}: {v}" for k, v in extras.provenance.items())),
    ]
    parts = tuple(block for block in blocks if block.notes)
    return [Section("Notes", parts, "notes", "Notes", forms=FILES)]


def _registration(registered: Sequence[Registered]) -> Iterator[str]:
    """Yield what a protocol said before its first cell was scored, and each change since."""
    for number, entry in enumerate(registered):
        at = f"protocol {entry.content} at scale {entry.scale}"
        at += f" with --set {' '.join(entry.overrides)}" if entry.overrides else ""
        if number == 0 and not entry.scored:
            yield f"Registered before the first cell was scored: {at}, {entry.time}."
        elif number == 0:
            yield f"Not registered before the first cell was scored: {at}, {entry.time}, {_progress(entry)}."
        else:
            yield f"Changed to {at}, {entry.time}, {_progress(entry)}."


def _progress(entry: Registered) -> str:
    return f"when {entry.scored} of {entry.cells} cells had scores"


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
    masks = "segmentation" in map(report.task, range(len(protocol.finetune)))
    how = f" Surface distances (convention {protocol.convention}): {CONVENTIONS[protocol.convention]}."
    notes.append(f"Metrics: {metrics}.{how * masks}")
    if any(metric.startswith(LESION) for metric in report.metrics):
        notes.append(LESIONS)
    return notes


def _data(report: ReportContext, records: pd.DataFrame) -> tuple[Note, ...]:
    protocol = report.protocol
    notes = [
        Note(f"{info.title}: made by bench, not scanned. Scores on it say nothing about patients.")
        for info in report.info.values()
        if info.synthetic
    ]
    for label, name, target in zip(
        report.labels, protocol.sections, protocol.finetune, strict=True
    ):
        same = records["section"].eq(name)
        empty = protocol.empty or report.info[target.dataset].empty
        notes.append(Note(_split(label, target, records[same])))
        if target.value is None and (
            not same.any() or (records[same]["task"] != "classification").any()
        ):
            notes.append(
                Note(
                    f"{label}: empty masks are scored by the convention “{empty}”. {EMPTY.get(empty, empty)}."
                )
            )
    return tuple(notes)


def _split(label: str, target: Finetune, rows: pd.DataFrame) -> str:
    hashes = sorted(rows["split_hash"].unique())
    text = f"“{label}”: patients are divided by the split “{target.split}”"
    if hashes:
        text += f" (hash {', '.join(hashes)})"
    used = rows[rows["status"] != "failed"]
    seeds = sorted(used["seed"].unique()) if len(used) else target.seeds
    if len(used):
        named = used[used["case"] != ""]  # AUC and kappa are over all cases at once
        if len(named):
            patients, cases = named["patient"].nunique(), named["case"].nunique()
            text += f"; {counted(patients, 'test patient')}, {counted(cases, 'test case')}"
        sizes = used.groupby("fraction")["n_train"].agg(["min", "max"])
        text += "; training patients: " + ", ".join(
            f"{low if low == high else f'{low} to {high}'} at {fraction} %"
            for fraction, low, high in sizes.itertuples()
        )
    return f"{text}; {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}."


def _pretrained(report: ReportContext, records: pd.DataFrame) -> list[str]:
    """Return what every row was pretrained on, rows alike together; of rows without results nothing."""
    met = records[records["status"] != "failed"][["row", "pretrain", "init"]].drop_duplicates()
    of_row = {(row, p.name): p for p in report.extras.pretrainings for row in p.rows}
    alike: dict[str, list[str]] = {}
    for row in report.rows:
        texts = dict.fromkeys(
            _whence(report, row, pretrain, init, of_row.get((row, pretrain), of_row.get((row, ""))))
            for pretrain, init in met.loc[met["row"] == row, ["pretrain", "init"]].itertuples(
                index=False
            )
        )
        if texts:
            alike.setdefault("; ".join(texts), []).append(row)
    return ["; ".join(map(report.quoted, rows)) + f": {texts}." for texts, rows in alike.items()]


def _whence(
    report: ReportContext, row: str, pretrain: str, init: str, facts: Pretraining | None
) -> str:
    """Return what one row was pretrained on; ``pretrain`` and ``init`` are the records' columns."""
    if init.startswith("embeddings:"):
        declared, _ = row_of(report.protocol, row)
        stated = Initial.of(declared.init) if declared is not None and declared.init else None
        name = Path(stated.embeddings).name if stated else "a folder"
        unseen = (
            "was compared with the held-out cases"
            if stated and stated.pretrained_on
            else "is not stated, so no guard looked for held-out cases in it"
        )
        return (
            f"not pretrained here; the features are from {name} "
            f"(digest {init.removeprefix('embeddings:')[:12]}); their pretraining data {unseen}"
        )
    if init.startswith("file:"):
        declared, _ = row_of(report.protocol, row)
        name = (
            Path(Initial.of(declared.init).file).name
            if declared is not None and declared.init
            else "weights"
        )
        return f"not pretrained here; the weights are from the file {name} (SHA-256 {init.removeprefix('file:')[:12]})"
    if not init.startswith("job:"):
        return "not pretrained"
    at = f", weights after step {init.partition('@')[2]}" if "@" in init else ""
    if facts is None:
        return f"pretrained on {pretrain}{at}"
    titles = " + ".join(dataset_info(name, report.extras).title for name in facts.datasets)
    named = f"{pretrain} ({titles})" if pretrain != "+".join(facts.datasets) else titles
    least, most = facts.unlabelled
    share = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    unlabelled = f", {share} of them unlabelled" if most else ""
    return (
        f"pretrained on {named}, {_range(facts.cases, 'case')}{_expected(report.protocol, row)}{unlabelled}; "
        f"{_range(facts.steps, 'step')}{at}, batch size {facts.batch}, "
        f"{facts.optimiser} at learning rate {facts.lr:g}, {facts.schedule} schedule, {facts.precision}"
    )


def _imported(report: ReportContext) -> Iterator[str]:
    """Yield for each row which of its cells were not run here, and whose records they are of."""
    by_origin: dict[tuple[str, str], list[int]] = {}
    for cell in report.extras.taken:
        by_origin.setdefault((cell.row, cell.place), []).append(cell.fraction)
    for (row, origin), fractions in by_origin.items():
        shares = ", ".join(f"{share} %" for share in sorted({*fractions}))
        count = counted(len(fractions), "cell")
        yield f"{report.quoted(row)}, {shares} of the labels: {count} copied from the results of {origin}."


def _range(ends: tuple[int, int], noun: str) -> str:
    return counted(ends[0], noun) if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,} {noun}s"


def _expected(protocol: Protocol, row: str) -> str:
    """Return the number of cases that a mixture's paper prints, where the row reads all of that mixture."""
    declared, _ = row_of(protocol, row)
    if declared is None or protocol.pretrain is None:
        return ""
    every = [pretrain_of(protocol, declared, index) for index in range(len(protocol.finetune))]
    expected = {
        mixture.mixture(s.mixture).expected_cases if s.mixture and not s.take else None
        for s in every
    }
    only = expected.pop() if len(expected) == 1 else None
    return f" of {only:,} expected" if only else ""


def _training(report: ReportContext, records: pd.DataFrame) -> list[str]:
    protocol = report.protocol
    notes = []
    if report.extras.overrides:
        changed = "; ".join(f"--set {text}" for text in report.extras.overrides)
        notes.append(f"Changed on the command line: {changed}.")
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
                f"Each pretraining seed ({listed}) is combined with every fine-tuning seed{shown}"
            )
    notes += dict.fromkeys(
        _probed(report, section.probe) for section in every if section.probe is not None
    )
    notes += _tuning(report)
    notes += unequal(protocol) if protocol.baseline == "unequal" else []
    notes += _references(report)
    ran = dict(records[["row", "params"]].drop_duplicates().itertuples(index=False, name=None))
    for name, row in protocol.rows.items():
        differs = ran.get(name, json.dumps(row.params, sort_keys=True))
        if differs != "{}":
            notes.append(
                f"{report.quoted(name)}: these parameters are not the method's defaults: {differs}."
            )
    return [
        *notes,
        *([f"Cost, as the protocol states it: {protocol.cost}"] if protocol.cost else []),
    ]


def _references(report: ReportContext) -> Iterator[str]:
    """Yield what each row from scratch is that no pretrained row shares its network with: no baseline."""
    protocol = report.protocol
    compared = {row.network for row in protocol.rows.values() if method_pretrains(row)}
    for name, row in protocol.rows.items():
        if not compared or row.network in compared or not row.finetune:
            continue
        ways = {
            _way(tuned, report.info[tuned.dataset].task)
            for tuned in (finetune_of(protocol, i, row) for i in protocol.sections_of(row))
        }
        yield (
            f"{report.quoted(name)} is a reference with its own recipe ({' | '.join(sorted(ways))}). Its network, "
            "recipe and budget differ from those of the rows beside it, and no row is pretrained on its network. "
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


def _tuning(report: ReportContext) -> list[str]:
    """Return how rows are fine-tuned on each data set: together where the section alone says it."""
    protocol, notes = report.protocol, []
    tuned_rows = [name for name, row in protocol.rows.items() if row.finetune]
    for index, (label, target) in enumerate(zip(report.labels, protocol.finetune, strict=True)):
        if len(tuned_rows) < len(protocol.rows):
            others = "Other rows, fine-tuning" if tuned_rows else "Fine-tuning"
            notes.append(f"{others} on “{label}”: {_way(target, report.task(index))}.")
        for name in tuned_rows:
            tuned = finetune_of(protocol, index, protocol.rows[name])
            notes.append(
                f"{report.quoted(name)}, fine-tuning on “{label}”: {_way(tuned, report.task(index))}."
            )
    return notes


def _way(target: Finetune, task: str) -> str:
    """Return how a section trains and predicts."""
    optimiser, window = target.optimiser, target.inference
    if target.evaluation == "probe":
        value = f"{target.value.text}: " if target.value else ""
        return value + target.probe.text(task == "segmentation")
    length = f"{target.epochs or 0:g} epochs with {target.crops} crops per case"
    flips = (
        f", test-time flips along {', '.join(window.mirror)} (mean of logits)"
        if window.mirror
        else ""
    )
    parts = [
        f"{length if target.steps is None else f'{target.steps} steps'}, batch size {target.batch}, "
        f"{optimiser.name} at learning rate {optimiser.lr:g}, {target.schedule.name} schedule, {target.precision}",
        EVALUATIONS[target.evaluation],
        f"loss: {target.loss or 'the default of the task'}",
        f"the same {target.held} at every label fraction",
        f"scored weights: {SELECT[target.select]} (select {target.select})",
        f"windows overlap by {100 * window.overlap:g} %, {window.blend} blending{flips}",
    ]
    parts += [_looks(target.track)] if target.track else []
    parts += [_grid(target.tune)] if target.tune else []
    parts += [f"crop {' x '.join(map(str, target.crop))}"] if target.crop else []
    parts += ["one sigmoid for each region"] if target.head == "regions" else []
    parts += (
        [f"validation: {100 * target.holdout:g} % of training patients"] if target.holdout else []
    )
    parts += (
        [f"the encoder is frozen for {100 * target.frozen:g} % of the steps"]
        if target.frozen
        else []
    )
    parts += [_group(name, group) for name, group in _groups(target).items() if group != Group()]
    parts += ["loaded norm layers keep their running statistics"] if target.norm == "kept" else []
    parts += _of_weights(target)
    parts += ["the pretrained last layer is loaded too"] if target.output == "loaded" else []
    parts += ["the bias of the last layer starts at the class frequencies"] if target.prior else []
    parts += [f"other settings: {target.settings}"] if target.settings else []
    return "; ".join(parts)


def _groups(target: Finetune) -> dict[str, Group]:
    return {"new parameters": target.new, "loaded parameters": target.loaded}


def _group(name: str, group: Group) -> str:
    """Return how a group of parameters trains, where that differs from the rest."""
    parts = [f"learning rate {group.rate:g}"] if group.rate is not None else []
    parts += [f"frozen for {100 * group.frozen:g} % of the steps"] if group.frozen else []
    parts += (
        [f"warm-up of {100 * group.warmup:g} % of the steps"] if group.warmup is not None else []
    )
    parts += [f"weight decay {group.decay:g}"] if group.decay is not None else []
    parts += (
        [f"the rate of each encoder layer is {group.layer_decay:g} of the next layer's"]
        if group.layer_decay != 1
        else []
    )
    parts += ["a second warm-up when the other group starts to train"] if group.restart else []
    return f"{name}: {', '.join(parts)}"


def _of_weights(target: Finetune) -> list[str]:
    """Return what is scored in place of the weights, and what is trained beside them."""
    parts = [f"scored weights: their moving average, momentum {target.ema:g}"] if target.ema else []
    if target.lora.rank:
        layers = {"attention": "of attention", "all": "of the encoder"}[target.lora.layers]
        size = f"rank {target.lora.rank}, alpha {target.lora.alpha:g}"
        parts.append(f"the loaded linear layers {layers} have adapters of {size}")
    return parts


def _grid(tune: Tune) -> str:
    """Return from which settings each row chooses, and on which patients."""
    keys = "; ".join(
        f"{key}: {', '.join(map(_candidate, values))}" for key, values in tune.over.items()
    )
    runs = f" (mean of {tune.runs} seeds)" if tune.runs > 1 else ""
    return (
        f"each row chooses its settings on the validation patients{runs}, from {len(tune.grid)} candidates "
        f"({keys})"
    )


def _candidate(value: Any) -> str:
    """Return one value of a grid; of a group of parameters its keys."""
    if not isinstance(value, Mapping):
        return str(value)
    return " with ".join(f"{key} {v}" for key, v in value.items()) or "the defaults"


def _looks(track: Track) -> str:
    """Return whom a learning curve looks at, and how often."""
    every = f"{track.every} steps" if track.every is not None else f"{track.every_epochs:g} epochs"
    return (
        f"a learning curve on the {learning.PARTS[track.part]} every {every}, which selects nothing"
    )


def _taken_over(report: ReportContext) -> list[str]:
    """Return what each row took over, whence, and what its controls are."""
    notes = []
    for row, text in report.extras.receipts.items():
        declared, _ = row_of(report.protocol, row)
        given = Initial.of(declared.init) if declared and declared.init else None
        start = _start(given) if given is not None and given.file else ""
        notes.append(f"{report.quoted(row)}: {start}{text}.")
    notes += [f"{report.quoted(row)} {text}." for row, text in report.extras.choices.items()]
    return notes + [CONTROLS[control] for control in report.protocol.controls]


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
    read = dict.fromkeys(
        [
            *report.info,
            *(name for pretraining in report.extras.pretrainings for name in pretraining.datasets),
        ]
    )
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
