"""Predictions on single slices, as evaluate jobs kept them, ready to draw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.errors import Damaged
from bench.protocol import Protocol
from bench.report import Panel
from bench.show.gather import cells, row_title
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from bench.data.npz import Arrays

PANEL_CASES = 3
LONG = 1000.0  # a pixel's height over its width
JOB = re.compile(r"[0-9a-f]{16}")


def panels(protocol: Protocol, table: pd.DataFrame, store: Store, methods: dict[str, str]) -> Iterator[Panel]:
    """Yield the same cases for every row, section by section: its largest fraction, its first run."""
    from bench.data.npz import Arrays

    largest = dict(zip(protocol.sections, (max(t.fractions) for t in protocol.finetune), strict=True))
    seen: set[tuple[str, str]] = set()
    for cell in cells(table):
        file = store.jobs / cell.job / "panels.npz"
        place = (cell.row, cell.section)
        if not JOB.fullmatch(cell.job):  # records may come from elsewhere: no path is made of them
            continue
        if cell.fraction != largest.get(cell.section) or place in seen or not file.exists():
            continue
        seen.add(place)
        arrays = Arrays(file)
        names = list(dict.fromkeys(k.rpartition("/")[0] for k in arrays))[:PANEL_CASES]
        for case in names:
            yield _panel(cell, case, arrays, row_title(protocol, cell.row, methods))


def _panel(cell: Any, case: str, arrays: Arrays, title: str) -> Panel:
    # Arrays are (x, y) in RAS+: turned so that anterior is up, the patient's right on the left.
    image, reference, prediction = (
        arrays[f"{case}/{kind}"].T[::-1, ::-1] for kind in ("image", "reference", "prediction")
    )
    aspect = arrays[f"{case}/aspect"]
    alike = {a.shape for a in (image, reference, prediction)}
    if len(alike) != 1 or image.ndim != 2 or not image.size or aspect.shape or not 0 < aspect < LONG:
        raise Damaged(arrays.path, "no panels")
    return Panel(cell.row, cell.section, case, title, image, reference, prediction, float(aspect))
