"""Predictions as pictures: the cases and slices that a view asks for, read from the folders of jobs.

Images are the prepared ones, which is what a network saw; reference and prediction are those that were
scored, on the native grid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import Damaged, shown
from bench.protocol import Protocol, View
from bench.protocol.views import MEAN
from bench.report import selected
from bench.report.names import lower_is_better, zero_is_best
from bench.report.supplement import Panel
from bench.show.gather import row_title
from bench.store import Store
from bench.volumes.resampling import Geometry, linear

if TYPE_CHECKING:
    import pandas as pd

    from bench.data.prepared import Prepared

JOB = re.compile(r"[0-9a-f]{16}")
DARK, BRIGHT = 0.5, 99.5  # percentiles of a slice that are drawn black and white
RUN = ["pretrain_seed", "seed", "fold"]


def panels(
    protocol: Protocol, table: pd.DataFrame, store: Store, methods: Mapping[str, str]
) -> Iterator[Panel]:
    """Yield what every view of panels shows, section by section; of a protocol without one, its default.

    Args:
        protocol: states the views.
        table: its records.
        store: holds the evaluations and the preparations under them; what is not here is left out.
        methods: titles by method.

    Raises:
        Damaged: a prediction, an image or a reference is not what was published.
    """
    views = {n: view for n, view in enumerate(protocol.layout.views) if view.draw == "panels"}
    bases = {job: _basis(store, str(job)) for job in table["job"].unique()}
    drawable = table["job"].isin([job for job, basis in bases.items() if basis is not None])
    scored = table[drawable & table["case"].ne("") & table["status"].ne("failed")]
    scored = scored.assign(basis=scored["job"].map(bases))
    for number, view in (views or {-1: View(draw="panels")}).items():
        for section in selected.sections(view, protocol.sections):
            shares = view.fractions or (max(protocol.finetune[section].fractions),)
            chosen = scored[
                scored["section"].eq(protocol.sections[section]) & scored["fraction"].isin(shares)
            ]
            rows = selected.rows(protocol, view, chosen["row"].unique())
            chosen = chosen[chosen["row"].isin(rows)]
            for case in picked(protocol, view, chosen)[: view.cases]:
                of_case = chosen[chosen["case"] == case]
                for row, share, panel in _predicted(of_case, rows, store, view):
                    title = row_title(protocol, row, methods)
                    title += f", {share} %" if chosen["fraction"].nunique() > 1 else ""
                    yield replace(
                        panel, row=row, section=protocol.sections[section], title=title, view=number
                    )


def _basis(store: Store, job: str) -> str | None:
    """Return the preparation under an evaluation whose label maps can be drawn, else None.

    Records may come from elsewhere: no path is made of what they say.
    """
    if (
        not JOB.fullmatch(job)
        or not store.done(job)
        or not (store.jobs / job / "prediction.json").exists()
    ):
        return None
    needs = store.manifest(job).get("needs", [])
    prepared = len(needs) > 1 and JOB.fullmatch(needs[1]) and store.done(needs[1])
    return str(needs[1]) if prepared else None


def picked(protocol: Protocol, view: View, rows_shown: pd.DataFrame) -> list[str]:
    """Return cases in the order in which a view takes them; of equal ones the first by name.

    A case has the mean, over the shown rows and fractions, of its means over runs and targets in the
    view's first metric. Only such cases come into question as no other was predicted by more rows.

    Args:
        protocol: states the metrics where the view does not.
        view: says which cases, and of which targets.
        rows_shown: records of one section: the rows and fractions that are shown.
    """
    predicted = rows_shown.groupby("case")[["row", "fraction"]].apply(
        lambda rows: len(rows.drop_duplicates())
    )
    names = sorted(predicted.index[predicted == predicted.max()]) if len(rows_shown) else []
    if view.pick == "first":
        return names
    wanted = (*view.metrics, protocol.layout.metric, *protocol.metrics, "dice")
    metric = next(name for name in wanted if name)
    named = [name for name in view.targets if name != MEAN]
    scores = rows_shown[
        rows_shown["metric"].eq(metric) & (rows_shown["target"].isin(named) | (not named))
    ]
    value = scores["value"].abs() if zero_is_best(metric) else scores["value"]
    means = (
        scores.assign(value=value).groupby(["case", "row", "fraction", "target"])["value"].mean()
    )
    by_row = means.groupby(["case", "row", "fraction"]).mean()
    means = by_row.groupby("case").mean().reindex(names).dropna()
    less = bool(len(scores)) and lower_is_better(metric, str(scores["unit"].iloc[0]))
    rising = (view.pick == "worst") != (less or zero_is_best(metric))
    ranked = list(means.sort_values(ascending=rising, kind="stable").index)
    spare = max(0, len(ranked) - view.cases) // 2 if view.pick == "median" else 0
    return ranked[spare:]


def _predicted(
    rows_of_case: pd.DataFrame, rows: list[str], store: Store, view: View
) -> Iterator[tuple[str, int, Panel]]:
    """Yield row, fraction and picture of one case as the first run of each predicted it."""
    from bench.data.prepared import Prepared  # which loads Blosc2: most reports open no array

    case = str(rows_of_case["case"].iloc[0])
    ordered = rows_of_case.sort_values(["fraction", *RUN], kind="stable")
    slices: dict[str, Slice] = {}
    for row in rows:
        first = ordered[ordered["row"] == row].drop_duplicates("fraction")
        columns = first[["job", "basis", "fraction"]]
        for job, basis, share in columns.itertuples(index=False, name=None):
            if basis not in slices:
                void = store.manifest(job).get("spec", {}).get("data", {}).get("ignore")
                slices[basis] = Slice(Prepared(store.jobs / basis), case, view.slices, void)
            yield row, int(share), slices[basis].panel(store.jobs / job)


class Slice:
    """One slice of a case: its image and reference, and what of a prediction lies in it.

    Args:
        prepared: holds the case.
        case: its id.
        which: ``largest``, where most is labelled; ``middle``, half-way through what is labelled.
        void: value of voxels of the reference that nobody labelled; they are drawn as background.
    """

    def __init__(self, prepared: Prepared, case: str, which: str, void: int | None = None) -> None:
        self._case, self._grid = case, prepared.geometry(case)
        reference = prepared.native(case)
        reference = np.where(reference == void, 0, reference) if void is not None else reference
        self._z = level(np.count_nonzero(reference, axis=(0, 1)), which)
        self._reference = reference[..., self._z]
        self._window = _shown_part(self._grid, self._reference)
        self._image = _image(prepared, case, self._z)

    def panel(self, folder: Path) -> Panel:
        """Return the slice with the prediction that an evaluation left in a folder."""
        from bench.data.cache import Pack

        pack = Pack(folder, "prediction")[self._case]
        if pack.shape != self._grid.native_shape or pack.dtype != np.uint8:
            raise Damaged(
                folder / "prediction.json", f"case {shown(self._case)} is of another grid"
            )
        x, y, _ = self._grid.native_spacing
        planes = (self._image, self._reference, pack[..., self._z])
        image, reference, prediction = (turned(plane[self._window]) for plane in planes)
        return Panel("", "", self._case, "", image, reference, prediction, y / x)


def level(labelled: np.ndarray, which: str) -> int:
    """Return the number of the slice that is shown; of an empty reference the middle one.

    Args:
        labelled: voxels with a label in each slice, (Z,).
        which: ``largest`` or ``middle``.
    """
    filled = np.flatnonzero(labelled)
    if not filled.size:
        return len(labelled) // 2
    return int(labelled.argmax() if which == "largest" else (filled[0] + filled[-1]) // 2)


def _image(prepared: Prepared, case: str, z: int) -> np.ndarray:
    """Return a slice of the first channel on the native grid, uint8 (X, Y); black outside the crop."""
    grid = prepared.geometry(case)
    (x, y, depth), (low, high) = grid.cropped, grid.box[2]
    plane = np.zeros(grid.native_shape[:2], np.uint8)
    if low <= z < high:
        nearest = min(int((z - low + 0.5) * grid.shape[2] / depth), grid.shape[2] - 1)
        seen = linear(
            prepared.volume(case).crop((0, 0, nearest), (*grid.shape[:2], 1))[0], (x, y, 1)
        )
        dark, bright = np.percentile(seen, (DARK, BRIGHT))
        grey = np.clip((seen - dark) / max(bright - dark, 1e-6) * 255, 0, 255)
        plane[grid.inside[:2]] = grey[..., 0].astype(np.uint8)
    return plane


def _shown_part(grid: Geometry, reference: np.ndarray) -> tuple[slice, slice]:
    """Return the part of a slice that is shown: the crop, and what is labelled outside it."""
    sides = []
    for axis, (low, high) in enumerate(grid.box[:2]):
        hit = np.flatnonzero(reference.any(axis=1 - axis))
        sides.append(slice(min([low, *hit[:1].tolist()]), max([high, *(hit[-1:] + 1).tolist()])))
    return (sides[0], sides[1])


def turned(plane: np.ndarray) -> np.ndarray:
    """Return a plane (x, y) of RAS+ as it is looked at: anterior up, the patient's right on the left."""
    return plane.T[::-1, ::-1]
