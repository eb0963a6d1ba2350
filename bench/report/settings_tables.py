"""How each row was made, as tables: patients of the splits, pretrainings, settings of fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.case_filter import DOUBTFUL, SHOWN
from bench.errors import first_of
from bench.jobs.finetune.spec import setting_text
from bench.protocol import Finetune, Protocol, finetune_of, mixture, pretrain_of, row_of
from bench.protocol.sections import JUDGES, Augment, Group, Initial, Schedule, Track, Tune
from bench.report import learning
from bench.report.context import ReportContext
from bench.report.footnotes import counted
from bench.report.names import EVALUATIONS, cautions, dataset_info, setting_words
from bench.report.supplement import Pretraining
from bench.report.tabular import Line, Table, TableCell, grid, sparse, with_lines
from bench.typed import plain

if TYPE_CHECKING:
    import pandas as pd

EMPTY = {
    "default": "If both masks are empty, the scores are undefined. If only the reference is empty, overlap is 0 and "
    "distances are undefined. If only the prediction is empty, overlap is 0 and distances are the diagonal of the "
    "volume",
    "brats": "If both masks are empty, overlap is 1 and distance is 0 mm. If only one mask is empty, overlap is 0 and "
    "distance is 373.13 mm",
    "skip": "If any mask is empty, the scores are undefined",
}
SELECT = {
    "last": "after the last step",
    "best_val": "with the best score on validation patients",
    "best_test": "with the best score on the test cases, as in the paper, so these numbers are optimistic",
}
SPLIT = ("Data set", "Split", "Hash", "Test patients", "Test cases", "Training patients", "Seeds")
PRETRAINED = (
    "Rows",
    "Pretrained on",
    "Cases",
    "Steps",
    "Batch size",
    "Optimiser",
    "Learning rate",
    "Schedule",
    "Precision",
)


def splits(report: ReportContext, records: pd.DataFrame) -> Table:
    """Return how patients are divided, one line a section; the caption tells how empty masks are scored."""
    lines, conventions, sentences = [], dict[str, None](), list[str]()
    for label, name, target in zip(
        report.labels, report.protocol.sections, report.protocol.finetune, strict=True
    ):
        rows = records[records["section"].eq(name)]
        lines.append((label, *_split(target, rows)))
        sentences += _narrowed(label, target)
        if target.value is None and (rows.empty or (rows["task"] != "classification").any()):
            conventions[report.protocol.empty or report.info[target.dataset].empty] = None
    sentences += [f"Empty masks (convention “{e}”): {EMPTY.get(e, e)}." for e in conventions]
    sentences += [
        f"{info.title}: made by bench, not scanned. Scores on it say nothing about patients."
        for info in report.info.values()
        if info.synthetic
    ]
    sentences += cautions(report.info.values())
    return replace(
        grid(SPLIT, lines, "Data and splits", " ".join(sentences), words=(1, 2, 5, 6)), folded=True
    )


def _narrowed(label: str, target: Finetune) -> list[str]:
    """Return what is said of the cases that a section leaves out."""
    parts = [f"only cases with {key} = {value}" for key, value in target.where.items()]
    named = [case for case in target.exclude if case != DOUBTFUL]
    if DOUBTFUL in target.exclude:
        parts.append("without the cases that the data set marks as doubtful")
    if named:
        parts.append(f"without {first_of(named, SHOWN)}")
    return [f"{label}: {'; '.join(parts)}."] if parts else []


def _split(target: Finetune, rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the entries of a section's line: those of records where there are any."""
    used = rows[rows["status"] != "failed"]
    seeds = sorted(used["seed"].unique()) if len(used) else target.seeds
    named = used[used["case"] != ""]  # AUC and kappa are over all cases at once
    patients, cases = (
        f"{named[key].nunique():,}" if len(named) else "" for key in ("patient", "case")
    )
    sizes = used.groupby("fraction")["n_train"].agg(["min", "max"])
    trained = ", ".join(
        f"{low if low == high else f'{low} to {high}'} at {fraction} %"
        for fraction, low, high in sizes.itertuples()
    )
    hashes = ", ".join(sorted(rows["split_hash"].unique()))
    return target.split, hashes, patients, cases, trained, _numbers(seeds)


def _numbers(numbers: Sequence[int]) -> str:
    """Return ``0, 2`` or ``0 to 29``."""
    if len(numbers) > 3 and list(numbers) == [*range(numbers[0], numbers[-1] + 1)]:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def pretrained(report: ReportContext, records: pd.DataFrame) -> Table | None:
    """Return what rows were pretrained on, rows alike together; of rows without results nothing."""
    met = records[records["status"] != "failed"][["row", "pretrain", "init"]].drop_duplicates()
    of_row = {(row, p.name): p for p in report.extras.pretrainings for row in p.rows}
    for row, name in [at for at in of_row if at[0] in report.protocol.rows]:
        for dose in _doses(report.protocol, row):
            of_row.setdefault((dose, name), of_row[row, name])
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for row in report.rows:
        lines = dict.fromkeys(
            _whence(report, row, pretrain, init, of_row.get((row, pretrain), of_row.get((row, ""))))
            for pretrain, init in met.loc[met["row"] == row, ["pretrain", "init"]].itertuples(
                index=False
            )
        )
        if lines:
            alike.setdefault((*lines,), []).append(row)
    if {*alike} <= {(("not pretrained",),)}:
        return None
    rows = [
        ("; ".join(map(report.named, names)), *entries)
        for lines, names in alike.items()
        for entries in lines
    ]
    title = "What each row was pretrained on"
    return replace(sparse(PRETRAINED, rows, title, words=(1, 5, 7, 8)), folded=True)


def _doses(protocol: Protocol, ceiling: str) -> list[str]:
    """Return the rows that have a share of a ceiling's weights."""
    of = protocol.rows[ceiling]
    return [
        name
        for name, row in protocol.rows.items()
        if of.ceiling and row.ceiling and replace(row, dose=of.dose, title=of.title) == of
    ]


def _whence(
    report: ReportContext, row: str, pretrain: str, init: str, facts: Pretraining | None
) -> tuple[str, ...]:
    """Return the entries of one row's line; ``pretrain`` and ``init`` are the records' columns."""
    declared, _ = row_of(report.protocol, row)
    if init.startswith("embeddings:"):
        stated = Initial.of(declared.init) if declared is not None and declared.init else None
        name = Path(stated.embeddings).name if stated else "a folder"
        unseen = "is not stated, so no guard looked for held-out cases in it"
        if stated and stated.pretrained_on:
            unseen = f"is listed in {Path(stated.pretrained_on).name}, which names no held-out case"
        return (
            f"not pretrained here; the features are from {name} "
            f"(digest {init.removeprefix('embeddings:')[:12]}); their pretraining data {unseen}",
        )
    if init.startswith("file:"):
        name = "weights"
        if declared is not None and declared.init:
            name = Path(Initial.of(declared.init).file).name
        digest = init.removeprefix("file:")[:12]
        return (f"not pretrained here; the weights are from the file {name} (SHA-256 {digest})",)
    random = declared is not None and declared.ceiling and not declared.dose
    if not init.startswith("job:") or random:
        return ("not pretrained",)
    at = f", weights after step {init.partition('@')[2]}" if "@" in init else ""
    datasets = facts.datasets if facts is not None else tuple(pretrain.split("+"))
    titles = " + ".join(dataset_info(name, report.extras).title for name in datasets)
    named = f"{pretrain} ({titles})" if pretrain != "+".join(datasets) else titles
    if facts is None:
        return (f"{named}{at}",)
    unlabelled = f", {_range(facts.unlabelled)} of them unlabelled" if facts.unlabelled[1] else ""
    return (
        named,
        f"{_range(facts.cases)}{_expected(report.protocol, row)}{unlabelled}",
        f"{_range(facts.steps)}{at}",
        f"{facts.batch}",
        facts.optimiser,
        f"{facts.lr:g}",
        facts.schedule,
        facts.precision,
    )


def _range(ends: tuple[int, int]) -> str:
    return f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}"


def _expected(protocol: Protocol, row: str) -> str:
    """Return the number of cases that a mixture's paper prints, where the row reads all of that mixture."""
    declared, _ = row_of(protocol, row)
    if declared is None or protocol.pretrain is None:
        return ""
    every = [pretrain_of(protocol, declared, index) for index in range(len(protocol.finetune))]
    expected = {mixture.expected_cases(section) for section in every}
    only = expected.pop() if len(expected) == 1 else None
    return f" of {only:,} expected" if only else ""


def finetuned(report: ReportContext) -> Table:
    """Return the settings of fine-tuning: where rows or data sets differ, one line for each way.

    Settings that are the same for all stand in the caption then.
    """
    ways = dict[tuple[tuple[str, str], ...], list[tuple[str, str]]]()
    for label, rows, settings in _ways(report):
        ways.setdefault(tuple(settings.items()), []).append((label, rows))
    title, every = "Fine-tuning", [dict(way) for way in ways]
    if len(every) == 1:
        return replace(grid(("Setting", "Value"), next(iter(ways)), title, words=(1,)), folded=True)
    keys = [*dict.fromkeys(key for way in every for key in way)]
    same = [key for key in keys if len({way.get(key) for way in every}) == 1]
    differ = [key for key in keys if key not in same]
    columns = grid(("", *differ), (), words=range(1, len(differ) + 1)).columns
    lines = [
        Line(_joined(places), tuple(TableCell(way.get(key, "")) for key in differ))
        for places, way in zip(ways.values(), every, strict=True)
    ]
    shared = "; ".join(f"{key[0].lower()}{key[1:]} {every[0][key]}" for key in same)
    caption = f"The same everywhere: {shared}." if shared else ""
    table = Table(title, caption, ("Data set", "Rows"), columns, (), leaf=1, counted=False)
    return replace(with_lines(table, ("", lines)), folded=True)


def _ways(report: ReportContext) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield for each section and its rows how they are trained: together where the section alone says it."""
    protocol = report.protocol
    for index, (label, target) in enumerate(zip(report.labels, protocol.finetune, strict=True)):
        rows = protocol.rows_in(index)
        tuned_rows = [name for name, row in rows.items() if row.finetune]
        if len(tuned_rows) < len(rows):
            which = "other rows" if tuned_rows else "all"
            yield label, which, _settings(target, report.task(index))
        for name in tuned_rows:
            tuned = finetune_of(protocol, index, protocol.rows[name])
            yield label, report.named(name), _settings(tuned, report.task(index))


def _joined(places: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return data sets and rows of one way, each once."""
    labels, rows = (dict.fromkeys(names) for names in zip(*places, strict=True))
    return "; ".join(labels), "; ".join(rows)


def _settings(target: Finetune, task: str) -> dict[str, str]:
    """Return how a section trains and predicts, by the names of the settings."""
    optimiser, window = target.optimiser, target.inference
    value = {"Predicted value": target.value.text} if target.value else {}
    if target.evaluation == "probe":
        return {"Probe": target.probe.text(task == "segmentation"), **value}
    length = f"{target.epochs or 0:g} epochs with {target.crops} crops per case"
    length = counted(target.steps, "step") if target.steps is not None else length
    flips = ""
    if window.mirror:
        flips = f"; test-time flips along {', '.join(window.mirror)} (mean of logits)"
    output = ["one sigmoid for each region"] if target.head == "regions" else []
    output += ["the pretrained one is loaded too"] if target.output == "loaded" else []
    output += ["its bias starts at the class frequencies"] if target.prior else []
    trains = target.is_trained
    scored = f"moving average, momentum {target.ema:g}; " if target.ema else ""
    tried = target.tune.over if target.tune and trains else {}
    tuned = {"rate", "optimiser.lr"} & {*tried} or any(
        "lr" in of for of in tried.get("optimiser", ())
    )
    rate = "chosen by each row" if tuned else f"{optimiser.lr:g}"
    optional = {
        "Crop": " x ".join(map(str, target.crop or ())),
        "Settings chosen by each row": _grid(target.tune) if target.tune and trains else "",
        "Learning curve": _looks(target.track) if target.track else "",
        "Validation patients": f"{100 * target.holdout:g} % of training patients"
        if target.holdout
        else "",
        "Encoder": f"frozen for {100 * target.frozen:g} % of the steps" if target.frozen else "",
        "New parameters": _group(target.new),
        "Loaded parameters": _group(target.loaded),
        "Loaded norm layers": "keep their running statistics"
        if target.norm == "kept" and trains
        else "",
        "Adapters": _adapters(target),
        "Last layer": "; ".join(output),
        "Other settings": target.settings,
    }
    return {
        **value,
        "Training": EVALUATIONS[target.evaluation],
        "Length at every label fraction": length if trains else "not fine-tuned",
        "Batch size": f"{target.batch}",
        "Optimiser": optimiser.name,
        "Learning rate": rate,
        "Schedule": _schedule(target.schedule),
        "Precision": target.precision,
        "Loss": _loss(target),
        "Gradients": _clipped(target),
        **({"Crops centred": _crops(target)} if task == "segmentation" else {}),
        "Augmentation": _augmented(target.augment),
        "Scored weights": f"{scored}{SELECT[target.select]} (select {target.select})",
        "Windows": f"overlap {100 * window.overlap:g} %, {window.blend} blending{flips}",
        **{key: text for key, text in optional.items() if text},
    }


def _schedule(schedule: Schedule) -> str:
    warmup = f", warm-up of {100 * schedule.warmup:g} % of the steps" if schedule.warmup else ""
    return f"{schedule.name}{warmup}"


def _loss(target: Finetune) -> str:
    over = ", one Dice over the batch" if target.batch_dice else ""
    return f"{target.loss or 'default of the task'}{over}"


def _clipped(target: Finetune) -> str:
    each = " of each tensor" if target.clip_each else ""
    return f"norm{each} clipped at {target.clip:g}" if target.clip else "not clipped"


def _crops(target: Finetune) -> str:
    """Return where crops are centred."""
    if not target.foreground:
        return "anywhere"
    exact = " of each batch" if target.exact else ""
    balanced = ", each class as often" if target.balanced else ""
    return f"{100 * target.foreground:g} %{exact} on a label{balanced}"


def _augmented(augment: Augment) -> str:
    """Return which keys of an augmentation differ from none."""
    none = plain(Augment())
    stated = {key: value for key, value in plain(augment).items() if value != none[key]}
    return ", ".join(f"{key} {value}" for key, value in stated.items()) or "none"


def _group(group: Group) -> str:
    """Return how a group of parameters trains, where that differs from the rest."""
    parts = [f"learning rate {group.rate:g}"] if group.rate is not None else []
    parts += [f"frozen for {100 * group.frozen:g} % of the steps"] if group.frozen else []
    parts += (
        [f"warm-up of {100 * group.warmup:g} % of the steps"] if group.warmup is not None else []
    )
    parts += [f"weight decay {group.decay:g}"] if group.decay is not None else []
    if group.layer_decay != 1:
        parts.append(f"the rate of each encoder layer is {group.layer_decay:g} of the next layer's")
    parts += ["a second warm-up when the other group starts to train"] if group.restart else []
    return ", ".join(parts)


def _adapters(target: Finetune) -> str:
    """Return which layers have adapters that are trained instead of them."""
    if not target.lora.rank:
        return ""
    layers = {"attention": "attention", "all": "the encoder"}[target.lora.layers]
    size = f"rank {target.lora.rank}, alpha {target.lora.alpha:g}"
    return f"for the loaded linear layers of {layers}, {size}"


def _grid(tune: Tune) -> str:
    """Return from which settings each row chooses, and on which patients."""
    keys = "; ".join(
        f"{key}: {', '.join(map(setting_text, values))}" for key, values in tune.over.items()
    )
    runs = {1: "", "others": " (mean of the other seeds)"}.get(
        tune.runs, f" (mean of {tune.runs} seeds)"
    )
    alone = "; the first if one patient is labelled" if tune.on == "folds" else ""
    return f"on {JUDGES[tune.on]}{runs}{alone}, from {len(tune.grid)} candidates ({setting_words(keys)})"


def _looks(track: Track) -> str:
    """Return whom a learning curve looks at, and how often."""
    every = f"{track.every} steps" if track.every is not None else f"{track.every_epochs:g} epochs"
    return f"on the {learning.PARTS[track.part]} every {every}; it selects nothing"
