"""How metrics, data sets and rows are called in print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from bench import registry
from bench.dataset import Dataset
from bench.errors import BenchError
from bench.metrics.request import declared, size_of, tolerance
from bench.protocol import Protocol, Quoted, row_of
from bench.report.supplement import DatasetInfo, Extras

HAIR = 0.005  # half a point of Dice, half a percent of an error
ALONE = "Intensity alone, no encoder"  # of the control `intensity`
NOT_STATED = "not stated"  # what a folder without a licence declares (bench.data.layout_msd)
EVALUATIONS = {
    "end_to_end": "end to end",
    "decoder": "frozen encoder",
    "probe": "probe",
    "as_loaded": "as loaded",
}
METRICS = {
    "dice": "Dice",
    "iou": "IoU",
    "hd": "HD",
    "hd95": "HD95",
    "assd": "ASSD",
    "asd": "ASD",
    "volume_error": "Volume error",
    "relative_volume_error": "Relative volume error",
    "latency": "Latency",
    "accuracy": "Accuracy",
    "auc": "AUC",
    "qwk": "QWK",
    "mae": "MAE",
    "r2": "R2",
    "spearman": "Spearman",
    "lesion_reference": "Lesions in the reference",
    "lesion_predicted": "Lesions predicted",
    "lesion_matched": "Lesions matched",
    "lesion_missed": "Lesions missed",
    "lesion_false": "Lesions false",
    "lesion_split": "Lesions split",
    "lesion_merged": "Lesions merged",
    "lesion_recall": "Lesion recall",
    "lesion_precision": "Lesion precision",
    "lesion_rq": "Lesion RQ",
    "lesion_sq": "Lesion SQ",
    "lesion_pq": "Lesion PQ",
    "lesion_dice": "Lesion Dice",
    "dice_pooled": "Dice over all test voxels",
    "dice_monai": "Dice as MONAI's validation loops compute it",
}


def metric_title(metric: str) -> str:
    """Return ``NSD @ 1 mm`` for ``nsd@1mm``, ``Lesion recall, 1 to 10 ml`` for ``lesion_recall@1-10ml``."""
    if tolerance(metric) is not None:
        return f"NSD @ {metric.removeprefix('nsd@').removesuffix('mm')} mm"
    name, size = size_of(metric)
    if size is None:
        return METRICS.get(metric, metric)
    low, high = size
    sizes = f"{low:g} ml or more" if high == math.inf else f"{low:g} to {high:g} ml"
    return f"{METRICS.get(name, name)}, {sizes}"


def unit_of(metric: str) -> str:
    """Return the unit that a metric has where no row states it."""
    declaration = declared(metric)
    return declaration.unit if declaration else "1"


_NUMBER = r"(\d+(?:\.\d+)?(?:e-?\d+)?)"
_FROZEN = re.compile(f"frozen {_NUMBER} with rate {_NUMBER}|rate {_NUMBER} with frozen {_NUMBER}")


def setting_words(text: str) -> str:
    """Return the settings that a row chose, or chose among, in plain words: of loaded weights."""

    def frozen(match: re.Match[str]) -> str:
        share, rate = (match[1], match[2]) if match[1] else (match[4], match[3])
        return f"frozen for {100 * float(share):g} % of the steps then rate {rate}"

    text = _FROZEN.sub(
        frozen, text.replace("loaded: the defaults", "loaded weights as the section sets them")
    )
    return text.replace("loaded: ", "loaded weights ")


def lower_is_better(metric: str, unit: str) -> bool:
    """A known metric says so; of others only shares of one grow with quality."""
    declaration = declared(metric)
    return not declaration.higher_is_better if declaration else unit != "1"


def metric_axis(metric: str, unit: str) -> tuple[str, bool]:
    """Return what an axis of a metric says, and whether less of it is better."""
    return f"{metric_title(metric)} ({'%' if unit == '1' else unit})", lower_is_better(metric, unit)


def is_chance(metric: str, mean: float, level: float | None = None) -> bool:
    """Whether a mean is at most ``HAIR`` better than predicting nothing, or the same for every case.

    ``level`` is what that gets, by default what is known of the metric; False where nobody knows.
    """
    declaration = declared(metric)
    level = declaration.chance if level is None and declaration else level
    if level is None:
        return False
    return mean >= level * (1 - HAIR) if lower_is_better(metric, "1") else mean <= level + HAIR


def zero_is_best(metric: str) -> bool:
    """Whether a value has a direction, and either is worse than 0."""
    declaration = declared(metric)
    return declaration is not None and declaration.signed


def is_ranked(metric: str) -> bool:
    """Whether one of two means may be called the better one."""
    declaration = declared(metric)
    return declaration is None or not (declaration.signed or declaration.neutral)


def dataset_info(name: str, extras: Extras) -> DatasetInfo:
    """Return what is known of a data set: what the run left, else its file, else its bare name.

    A file from outside is not asked: a report runs no code of whoever sent its protocol.
    """
    for info in extras.datasets:
        if info.name == name:
            return info
    if name in registry.outside("dataset"):
        return DatasetInfo(name, name, registered=False)
    try:
        return declared_info(name, registry.load("dataset", name)())
    except BenchError:
        # a folder in MSD layout works by its name alone
        return DatasetInfo(name, name, registered=False)


def cautions(infos: Iterable[DatasetInfo]) -> list[str]:
    """Return what data sets say of whose scans theirs are; phantoms are nobody's."""
    return [
        f"{info.title}: {caution}"
        for info in infos
        if not info.synthetic
        and (caution := registry.declared("dataset", info.name, "caution", ""))
    ]


def declared_info(name: str, dataset: Dataset, *, synthetic: bool = False) -> DatasetInfo:
    """Return what a declaration says: a registered data set's, or a folder's own.

    Args:
        name: of the data set.
        dataset: its declaration.
        synthetic: whether its scans are phantoms. The real ones' licence is not theirs then.
    """
    labels, regions = tuple(dataset.labels.values()), tuple(dataset.regions)
    stated = any(
        "redistribution" in vars(kind) for kind in type(dataset).__mro__ if kind is not Dataset
    )
    things = "pictures" if dataset.flat else "scans"
    stands_in = synthetic and not dataset.invented
    return DatasetInfo(
        name=name,
        title=f"Synthetic {things} in the layout of {dataset.title}"
        if stands_in
        else dataset.title,
        targets=("all",) if dataset.task == "classification" else regions or labels,
        labels=tuple(dataset.labels.items()),
        known=(*labels, *regions),
        licence="" if synthetic or dataset.licence == NOT_STATED else dataset.licence,
        redistribution=True if synthetic else dataset.redistribution if stated else None,
        registered=name in registry.names("dataset"),
        synthetic=synthetic,
        empty=dataset.empty,
        task=dataset.task,
        source=dataset.source,
    )


def section_labels(protocol: Protocol, info: dict[str, DatasetInfo]) -> list[str]:
    """Return one label per fine-tuning section, no two alike: the data set, and more where it comes twice."""
    targets = protocol.finetune
    titles = [t.title or info[t.dataset].title for t in targets]
    labels = []
    for target, title in zip(targets, titles, strict=True):
        twins = [t for t, other in zip(targets, titles, strict=True) if other == title]
        parts = [title]
        if target.external is not None and not target.title:
            parts.append(f"trained on {titles[target.external.section]}")
        if len({t.evaluation for t in twins}) > 1:
            parts.append(EVALUATIONS[target.evaluation])
        if len({t.split for t in twins}) > 1:
            parts.append(target.split)
        if target.value is not None:
            parts.append(target.value.text)
        labels.append(", ".join(parts))
    return [
        f"{label} ({name})" if labels.count(label) > 1 else label
        for label, name in zip(labels, protocol.sections, strict=True)
    ]


def row_titles(protocol: Protocol, rows: list[str], extras: Extras) -> dict[str, str]:
    """Return a printed name per row; the row's key is added where two would read the same."""
    titles = {}
    for name in rows:
        row, more = row_of(protocol, name)
        titles[name] = (
            (row.title or extras.titles.get(row.method, row.method)) + more if row else name
        )
        if more == " (intensity)":
            titles[name] = ALONE
    networks = [row_of(protocol, r)[0] for r in rows]
    shown = [(titles[r], net.network if net else "") for r, net in zip(rows, networks, strict=True)]
    return {
        r: f"{titles[r]} ({r})" if shown.count(key) > 1 else titles[r]
        for r, key in zip(rows, shown, strict=True)
    }


def quoted_title(quoted: Quoted) -> str:
    """Return the printed name of a row that nobody here runs."""
    return f"{quoted.title or quoted.published.partition('|')[0].strip()} (published)"


def with_network(protocol: Protocol, row: str, title: str) -> str:
    """Add a row's network where the rows have several and no column says it."""
    declared, _ = row_of(protocol, row)
    several = len({other.network for other in protocol.rows.values()}) > 1
    return f"{title}, {declared.network}" if declared and several else title
