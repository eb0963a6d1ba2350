"""What a regression predicts of a case: a volume, an ejection fraction, or a number that the data set states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from bench.data.parts import Value
from bench.data.prepared import Prepared
from bench.dataset import Case
from bench.errors import BenchError


def labelled(cases: Sequence[Case], value: Value | None) -> list[Case]:
    """Return the cases; of a value that the data set states, those that have it count as labelled."""
    if value is None or not value.meta:
        return list(cases)
    return [replace(c, label=None if c.meta.get(value.meta) is None else 0) for c in cases]


def true_values(prepared: Prepared, cases: Sequence[str], value: Value) -> np.ndarray:
    """Return the value of each case, float64 (N,).

    Volumes are in ml, on the native grid. An ejection fraction is a patient's, and each of his cases has it:
    the largest volume less the smallest, over the largest.

    Raises:
        BenchError: a case without a number, a patient of one case or of none of the label; names it.
    """
    if value.volume:
        return np.array([_volume(prepared, case, value) for case in cases])
    every = prepared.cases()
    if value.meta:
        stated = {case.id: case.meta.get(value.meta) for case in every}
        return np.array([_number(case, value.meta, stated[case]) for case in cases])
    of = dict[str, list[str]]()
    for case in every:
        if case.label is not None:
            of.setdefault(case.patient, []).append(case.id)
    fractions = {
        patient: _ejected(prepared, patient, of.get(patient, []), value)
        for patient in {prepared.patient(case) for case in cases}
    }
    return np.array([fractions[prepared.patient(case)] for case in cases])


def _number(case: str, key: str, stated: str | None) -> float:
    try:
        number = float(stated or "")
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise BenchError(
            f"case {case!r}: {key!r} is {stated!r}, which is not a number; correct it, or exclude the case"
        )
    return number


def _volume(prepared: Prepared, case: str, value: Value) -> float:
    voxels = int(np.isin(prepared.native(case), value.labels).sum())
    geometry = prepared.geometry(case)
    edges = geometry.native_edges or np.diag(geometry.native_spacing)
    return voxels * abs(float(np.linalg.det(edges))) / 1000  # edges may be oblique


def _ejected(prepared: Prepared, patient: str, cases: Sequence[str], value: Value) -> float:
    volumes = [_volume(prepared, case, value) for case in cases]
    if len(volumes) < 2 or not max(volumes):
        raise BenchError(
            f"patient {patient!r} has {len(volumes)} labelled case(s), the largest of {max(volumes, default=0):g} ml; "
            "an ejection fraction needs two phases; exclude the patient"
        )
    return (max(volumes) - min(volumes)) / max(volumes)
