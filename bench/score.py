"""Score files: one pair of volumes, two folders of equally named ones, or several such predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np

from bench import registry
from bench.dataset import clean
from bench.errors import BenchError, first_of, printable, unknown
from bench.metrics import CONVENTIONS, Score
from bench.metrics.grid import Grid, blanked, index_of, long_axes
from bench.metrics.pooled import DICE, Pooled
from bench.metrics.request import Request, Wanted, looped
from bench.metrics.volume import compare
from bench.volumes.files import PICTURES, SUFFIXES, dicom_inside, is_picture, is_volume, stem
from bench.volumes.header import TOLERANCE
from bench.volumes.reading import (
    LabelVolume,
    check_stated,
    drift,
    lay,
    misplaced,
    read_as_stored,
    read_header,
    read_label,
)

AGREE = 1e-6  # what --verify calls a difference
WAYS_OUT = (
    "correct the wrong header (a prediction takes the affine of the image it was made from), resample, or"
    " --ignore-geometry compares the voxels as they are stored"
)
CONTRACT = ("case", "target", "metric", "value", "unit")  # the keys of a row of one prediction
# by MedPy's name, without spacing
COUNTS = {"dice": "dc", "iou": "jc", "relative_volume_error": "ravd"}
ALL = ""  # in place of a case, in the row of a metric over all of them
ALL_LABELS = Wanted()
SHOWN = 5  # values that a line names
Row = dict[str, Any]


def as_json(rows: list[Row], *, several: bool = False) -> list[Row]:
    """Return rows of ``score_several`` with the keys that the public contract lists.

    Args:
        rows: with more keys.
        several: are there several predictions, which the rows name then?
    """
    keys = (*CONTRACT, "prediction", "convention") if several else CONTRACT
    return [{key: row[key] for key in keys} for row in rows]


def score_several(
    predictions: tuple[Path, ...],
    reference: Path,
    metrics: tuple[str, ...],
    conventions: tuple[str, ...] = CONVENTIONS,
    empty: str = "default",
    verify: bool = False,
    ignore_geometry: bool = False,
    wanted: Wanted = ALL_LABELS,
) -> tuple[list[Row], list[str]]:
    """Score predictions, each a label volume or a folder that is paired by name, under several conventions.

    Args:
        predictions: volumes (.nii.gz, .nrrd, ...), pictures or folders of them, each called by
            its own name (a volume: without suffix).
        reference: a volume, a picture or a folder.
        metrics: names, see ``bench.metrics.METRICS``.
        conventions: ``medpy``, ``monai``, ``deepmind``; MedPy checks those metrics that it defines as the
            first of them does.
        empty: ``default``, ``brats`` or ``skip``.
        verify: compute again with MedPy what MedPy defines (see ``verifiable``).
        ignore_geometry: compare the voxels as they are stored, in the reference's spacing.
        wanted: labels or regions, and what is void; default: every label that any of the files has.

    Returns:
        Rows ``{case, target, metric, value, unit}`` (undefined: None) and the keys ``status``, ``prediction``,
        ``convention``, ``medpy`` (was it compared with MedPy's?) and ``values`` (those but 0 of both files);
        every prediction has a row for every target. The case of a metric over all cases at once is empty. And
        one line for every difference above
        1e-6 between MedPy's number and ours.

    Raises:
        BenchError: a partner is missing, two grids differ or lie elsewhere, MedPy has none of the metrics, or
            two predictions have one name. Grids are compared in RAS+: axes that are stored flipped or in
            another order differ in nothing.
    """
    requests = tuple(Request.checked(metrics, convention, empty) for convention in conventions)
    if validated := next(filter(looped, metrics), None):
        raise BenchError(
            f"{validated}: needs the resampled grid that the network read, which files do not store; use dice"
        )
    checked = verifiable(metrics, conventions[0]) if verify else ()
    if verify and not checked:
        raise BenchError(
            f"--verify: MedPy has none of {', '.join(metrics)} under convention {conventions[0]};"
            " add dice, or leave --verify out"
        )
    partners = {name: pairs(path, reference) for name, path in _named(predictions).items()}
    files = list(chain.from_iterable(cases.values() for cases in partners.values()))
    values, of_all = dict[Path, set[int]](), DICE in metrics
    if wanted.every and (len(files) > 1 or of_all):
        values = {file: _values(read_as_stored(file).array) for pair in files for file in pair}
        # A label that one case lacks in both volumes is a result too: null, or what `empty` makes of it.
        sides = ({v for pair in files for v in values[pair[side]]} for side in (0, 1))
        wanted = replace(wanted, labels=sorted(set().union(*wanted.labels_of(*sides))))
    rows: list[Row] = []
    differences: list[str] = []
    targets = wanted.targets(())
    for name, case_pairs in partners.items():
        pooled = Pooled(targets, empty) if of_all else None
        for case, pair in case_pairs.items():
            prediction, true, grid = _read(*pair, ignore_geometry=ignore_geometry)
            for file, array in zip(pair, (prediction, true), strict=True):
                if file not in values:
                    values[file] = _values(array)
            volumes = *blanked(wanted.mapped(prediction), true, wanted.ignore), grid
            scored = _compared(pair[0], volumes, requests, wanted)
            if pooled is not None:
                pooled.add(*volumes[:2])
            for request, scores in zip(requests, scored, strict=True):
                again = checked if request is requests[0] else ()
                more: Row = {"prediction": name, "convention": request.convention}
                both = tuple(values[file] for file in pair)
                rows += [
                    _row(case, s) | more | {"medpy": _has_partner(s, again, grid), "values": both}
                    for s in scores
                ]
            where = f"{name}, {case}" if len(partners) > 1 else case
            compared = [score for score in scored[0] if _has_partner(score, checked, grid)]
            differences += _differences(where, compared, volumes, wanted)
        for request, score in product(requests, [] if pooled is None else pooled.scores()):
            more = {"prediction": name, "convention": request.convention, "medpy": False}
            columns = zip(*case_pairs.values(), strict=True)
            more["values"] = tuple(
                {v for file in column for v in values[file]} for column in columns
            )
            rows.append(_row(ALL, score) | more)
    return rows, differences


def _compared(
    path: Path, volumes: tuple[Any, Any, Grid], requests: tuple[Request, ...], wanted: Wanted
) -> Any:
    """Return the scores of each request; a mistake names the prediction's file."""
    try:
        return compare(*volumes, requests, wanted)
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def _row(case: str, score: Score) -> Row:
    return {"case": case, **vars(score)}


def verified(rows: list[Row], metrics: tuple[str, ...], convention: str, differing: int) -> str:
    """Return in a line how many numbers ``verify`` compared with MedPy's, and which MedPy has not."""
    checked = verifiable(metrics, convention)
    compared = sum(row["medpy"] for row in rows)
    others = [metric for metric in metrics if metric not in checked]
    without = (
        f"; MedPy has none of {', '.join(others)} under convention {convention}" if others else ""
    )
    how = f"{differing} differ" if differing else f"all agree within {AGREE:g}"
    return f"{compared} numbers computed again with MedPy, {how}{without}"


def _has_partner(score: Score, checked: tuple[str, ...], grid: Grid) -> bool:
    """Tell whether MedPy computes a number, too.

    Where one mask is empty it is a matter of convention, and MedPy knows no distances between sheared voxels.
    """
    defined = score.metric in checked and score.status == "ok" and score.value is not None
    return defined and (grid.square or score.metric in COUNTS)


def _named(predictions: tuple[Path, ...]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in predictions:
        # A link keeps its own name, which is the way out where two folders are called alike.
        folder = path.resolve() if path.name in ("", "..") else path
        name = printable(stem(path) if _is_map(path) else folder.name)
        if name in named:
            raise BenchError(
                f"{path}: the name {name!r} is already used by {named[name]}; rename one,"
                " or link to it by another name"
            )
        named[name] = path
    return named


def _values(labels: np.ndarray) -> set[int]:
    """Return every value of a label map but 0."""
    return {int(v) for v in np.unique(labels)} - {0}


def region_set(name: str) -> dict[str, tuple[int, ...]]:
    """Return the regions that data sets state, region -> the values that files have in it.

    Args:
        name: a registered data set, or how the names of several begin whose regions are the same.

    Raises:
        BenchError: no such data set states regions, or those that do differ.
    """
    every = registry.names("dataset")
    named = (
        [name] if name in every else [other for other in every if name and other.startswith(name)]
    )
    stated = {other: _raw_regions(other) for other in named}
    if not any(stated.values()):
        fit = [other for other in every if _raw_regions(other)]
        raise BenchError(f"--regions: {unknown('data set with regions', name, fit)}")
    first, *others = stated
    if unlike := next((other for other in others if stated[other] != stated[first]), None):
        raise BenchError(
            f"--regions {name}: {first} and {unlike} define different regions; name one of these data sets"
        )
    return stated[first]


def _raw_regions(name: str) -> dict[str, tuple[int, ...]]:
    dataset = registry.load("dataset", name)
    raw = dataset.raw_labels or {value: value for value in dataset.labels}
    return {
        region: tuple(value for value, label in raw.items() if label in values)
        for region, values in dataset.regions.items()
    }


def verifiable(metrics: tuple[str, ...], convention: str) -> tuple[str, ...]:
    """Return those of ``metrics`` that MedPy defines as this convention does."""
    same = {"medpy": ("hd", "hd95", "assd", "asd"), "monai": ("hd", "assd", "asd"), "deepmind": ()}
    return tuple(m for m in metrics if m in (*COUNTS, *same[convention]))


def pairs(prediction: Path, reference: Path) -> dict[str, tuple[Path, Path]]:
    """Return prediction and reference file by case, the reference's name without suffix.

    Of two folders these are the cases that were predicted, as of one fold of a cross-validation.

    Raises:
        BenchError: a path or a prediction's reference is missing, or one case has two files.
    """
    for path in (prediction, reference):
        if not path.exists():
            raise BenchError(f"{path}: no such file or folder")
    # Some unzippers make a folder img.nii.gz/ around one file; that still is one volume.
    folders = [path.is_dir() and not _is_map(path) for path in (prediction, reference)]
    if folders[0] != folders[1]:
        raise BenchError(
            f"{prediction} and {reference}: give two volumes or two folders, not one of each"
        )
    if not folders[0]:
        return {stem(reference): (prediction, reference)}
    predicted, true = _cases(prediction), _cases(reference)
    if lone := sorted(predicted.keys() - true.keys()):
        raise BenchError(
            f"{reference}: no reference for prediction {predicted[lone[0]]}"
            f" ({len(lone)} of {len(predicted)} have none); add the references, or remove the predictions"
        )
    return {case: (predicted[case], true[case]) for case in sorted(predicted)}


def _is_map(path: Path) -> bool:
    """Tell by its name whether a path is a volume or a picture."""
    return is_volume(path) or is_picture(path)


def _cases(folder: Path) -> dict[str, Path]:
    """Return the volumes of a folder by their stems; its pictures where it has no volume."""
    by_stem: dict[str, Path] = {}
    inside = clean(folder.iterdir())
    for path in [*filter(is_volume, inside)] or [*filter(is_picture, inside)]:
        other = by_stem.setdefault(stem(path), path)
        if other != path:
            raise BenchError(f"{path}: the case has also {other.name}; keep one of them")
    if not by_stem:
        kinds = ", ".join((*SUFFIXES, *PICTURES))
        raise BenchError(f"{folder}: holds no volume ({kinds}){dicom_inside(folder)}")
    return by_stem


def gaps(predictions: tuple[Path, ...], reference: Path) -> list[str]:
    """Return one line for each prediction that leaves references out."""
    lines = []
    for path in predictions:
        if not reference.is_dir() or _is_map(reference):
            continue
        every, scored = _cases(reference), pairs(path, reference)
        if absent := sorted(every.keys() - scored.keys()):
            lines.append(
                f"{path}: {len(absent)} of {len(every)} references have no prediction and are not scored, the"
                f" first is {every[absent[0]].name}"
            )
    return lines


def strangers(rows: list[Row], wanted: Wanted) -> list[str]:
    """Return one line for each kind of value that is chosen and occurs nowhere, or that no region holds."""
    lines = []
    predicted, true = (sorted({v for row in rows for v in row["values"][side]}) for side in (0, 1))
    present = sorted({*wanted.labels_of({*predicted}, set())[0], *true})
    occurring = ", ".join(map(str, present)) or "none"
    chosen = [v for v in wanted.labels or () if v and v not in present]
    if gone := [v for v in wanted.mapping if v not in predicted]:
        there = ", ".join(map(str, predicted)) or "none"
        lines.append(f"--map: value {gone[0]} is in no prediction; there are {there}")
    if wanted.ignore and wanted.ignore not in true:
        lines.append(f"--ignore: value {wanted.ignore} is in no reference, so nothing is left out")
    if chosen:
        lines.append(f"--labels: value {chosen[0]} is in no file; there are {occurring}")
    if wanted.regions is not None:
        inside = {*chain.from_iterable(wanted.regions.values())}
        if outside := sorted({*present} - inside - {wanted.ignore}):
            lines.append(f"--regions: value {outside[0]} is in no region and counts as background")
    return lines


def unmet(rows: list[Row], wanted: Wanted) -> list[str]:
    """Return a line for each prediction whose label values are others than its references'.

    Either both sides have a value that the other has in no case, or a case has no value in common and one of its
    values is such. An empty map is no such case.
    """
    lines, scored = [], {*chain.from_iterable(wanted.targets(()).values())}
    pairs_by_name: dict[str, dict[str, tuple[set[int], set[int]]]] = {}
    for row in rows:
        labels = wanted.labels_of(*row["values"])
        pairs_by_name.setdefault(row["prediction"], {})[row["case"]] = labels
    for name, cases in pairs_by_name.items():
        predicted, true = (set[int]().union(*side) for side in zip(*cases.values(), strict=True))
        alone = predicted - true, true - predicted
        disjoint = {
            case: pair
            for case, pair in cases.items()
            if case != ALL
            and all(pair)
            and not pair[0] & pair[1]
            and (pair[0] | pair[1]) & (alone[0] | alone[1])
        }
        if not (all(alone) or disjoint) or (scored and not scored & (alone[0] | alone[1])):
            continue
        found = [
            f"{first_of(sorted(values), SHOWN)} only in {side}"
            for values, side in zip(alone, ("predictions", "references"), strict=True)
            if values
        ]
        if disjoint:
            count = f"{len(disjoint)} of {len(cases.keys() - {ALL})} cases"
            found.append(f"no common value in {count}, first: {next(iter(disjoint))}")
        fit = alone if all(alone) else next(iter(disjoint.values()))
        way = "VALUE=LABEL"
        if len(fit[0]) == len(fit[1]) and not wanted.mapping:
            way = ",".join(f"{a}={b}" for a, b in zip(*map(sorted, fit), strict=True))
        lines.append(
            f"{name}: label values do not meet: {'; '.join(found)}; if they mean the same, add --map {way}"
        )
    return lines


def doubts(predictions: tuple[Path, ...], reference: Path) -> list[str]:
    """Return what headers of pairs leave open, contradict or hold in vain: a line of each kind for a prediction."""
    lines = []
    for path in predictions:
        files = list(pairs(path, reference).values())
        vague = [lone for pair in files if (lone := _vague(pair))]
        if vague:
            lines.append(
                f"{vague[0]}: its header states no orientation, so prediction and reference are compared"
                f" voxel by voxel as they are stored ({len(vague)} of {len(files)} pairs)"
            )
        by_kind = dict[str, list[str]]()
        for file in dict.fromkeys(chain.from_iterable(files)):
            stated = read_header(file).stated
            doubt = [("place", f"{stated.doubt} and not compared")] if stated.doubt else []
            for kind, text in (*doubt, *stated.remarks):
                by_kind.setdefault(kind, []).append(f"{file}: {text}")
        lines += [f"{texts[0]} ({len(texts)} files)" for texts in by_kind.values()]
    return lines


def _vague(pair: tuple[Path, Path]) -> Path | None:
    """Return the file of a pair that states no orientation; two pictures state none and need none."""
    if all(map(is_picture, pair)):
        return None
    return next((path for path in pair if not read_header(path).stated.axes), None)


def _read(
    prediction: Path, reference: Path, *, ignore_geometry: bool = False
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Return both label maps in RAS+ and the reference's grid.

    A file that states no orientation is taken to be stored as its partner is. Where geometry is to be
    ignored, both have their axes as stored.
    """
    read = read_as_stored if ignore_geometry else read_label
    predicted, true = read(prediction), read(reference)
    vague = [not volume.stored.stated.axes for volume in (predicted, true)]
    if not ignore_geometry:
        check_stated(predicted.stored)
        check_stated(true.stored)
        if vague == [False, True]:
            true = lay(true, predicted)
        elif vague[0]:
            predicted = lay(predicted, true)
    if predicted.array.shape != true.array.shape:
        raise BenchError(
            f"{prediction}: shape {predicted.array.shape}, but {reference} has {true.array.shape};"
            " resample the prediction to the reference's grid"
        )
    if not ignore_geometry and not any(vague):
        _check_place(predicted, true)
        predicted = lay(predicted, true)
    return predicted.array, true.array, Grid.of(true.array.shape, true.spacing, true.affine)


def _check_place(predicted: LabelVolume, true: LabelVolume) -> None:
    """Refuse a prediction that its header places more than ``TOLERANCE`` voxels off its reference at a corner."""
    spaced = predicted.stored.stated.spacing and true.stored.stated.spacing
    if spaced and drift(predicted.spacing, true.spacing, true.array.shape) > TOLERANCE:
        raise BenchError(
            f"{predicted.path}: spacing {tuple(predicted.spacing)} mm, but {true.path} has"
            f" {tuple(true.spacing)}; {WAYS_OUT}"
        )
    if off := misplaced(predicted, true):
        raise BenchError(
            f"{predicted.path}: lies up to {_apart(predicted.affine, true.affine, true.array.shape):.4g} mm"
            f" ({off:.4g} voxels) from {true.path}: in RAS+ their affines are"
            f" {_by_rows(predicted.affine)} and {_by_rows(true.affine)}; {WAYS_OUT}"
        )


def _apart(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return how far, in mm, a corner of a grid lies from the same corner by another affine, at most."""
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm(((affine - other) @ corners.T)[:3], axis=0).max())


def _by_rows(affine: np.ndarray) -> str:
    return "[" + "; ".join(" ".join(f"{v + 0.0:.5g}" for v in row) for row in affine[:3]) + "]"


def _differences(
    case: str, compared: list[Score], volumes: tuple[np.ndarray, np.ndarray, Grid], wanted: Wanted
) -> list[str]:
    """Compare with MedPy, which is given the axes of more than one voxel, as every metric is here."""
    prediction, reference, grid = volumes
    axes = long_axes(grid.shape)
    only = index_of(axes, reference.ndim)
    maps, spacing = (prediction[only], reference[only]), grid.along(axes).spacing
    targets = wanted.targets({int(score.target) for score in compared} if wanted.every else ())
    differences = []
    masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for score in compared:
        assert score.value is not None
        if score.target not in masks:
            masks = {score.target: _cropped(targets[score.target], *maps)}
        expected = _medpy(score.metric, spacing)(*masks[score.target])
        if not abs(score.value - expected) <= AGREE:
            what = "region" if wanted.regions and score.target in wanted.regions else "label"
            differences.append(
                f"{case}, {what} {score.target}: {score.metric} {score.value:.9g} here, {expected:.9g} by MedPy"
            )
    return differences


def _medpy(metric: str, spacing: tuple[float, ...]) -> Callable[..., float]:
    from medpy.metric import binary

    if metric in COUNTS:
        return getattr(binary, COUNTS[metric])
    return partial(getattr(binary, metric), voxelspacing=spacing)


def _cropped(
    values: tuple[int, ...], prediction: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both masks of a target without the air around them, which changes no metric of MedPy's."""
    predicted, true = np.isin(prediction, values), np.isin(reference, values)
    inside = np.nonzero(predicted | true)
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in inside)
    return predicted[box], true[box]
