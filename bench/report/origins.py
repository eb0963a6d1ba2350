"""What each row was pretrained on, and what its fine-tuning starts from, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.protocol import Protocol, mixture, pretrain_of, row_of
from bench.report.footnotes import counted
from bench.report.names import dataset_info
from bench.report.scene import Scene
from bench.report.supplement import Pretraining

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = {
    "random": "Rows (random): the same fine-tuning from fresh weights.",
    "shuffled": "Rows (shuffled): from the same weights, the values within each tensor in random order.",
}


def pretrained(scene: Scene, records: pd.DataFrame) -> list[str]:
    """Return what every row was pretrained on, rows alike together; of rows without results nothing."""
    met = records[records["status"] != "failed"][["row", "pretrain", "init"]].drop_duplicates()
    known = {row: one for one in scene.extras.pretrainings for row in one.rows}
    alike: dict[str, list[str]] = {}
    for row in scene.rows:
        said = dict.fromkeys(
            _whence(scene, row, pretrain, init, known.get(row))
            for pretrain, init in met.loc[met["row"] == row, ["pretrain", "init"]].itertuples(index=False)
        )
        if said:
            alike.setdefault("; ".join(said), []).append(row)
    return ["; ".join(map(scene.named, rows)) + f": {said}." for said, rows in alike.items()]


def _whence(scene: Scene, row: str, pretrain: str, init: str, known: Pretraining | None) -> str:
    """Return what one row was pretrained on; ``pretrain`` and ``init`` are the records' columns."""
    if init.startswith("file:"):
        own, _ = row_of(scene.protocol, row)
        name = Path(own.init).name if own is not None and own.init else "weights"
        return f"not pretrained here; from the file {name} (SHA-256 {init.removeprefix('file:')[:12]})"
    if not init.startswith("job:"):
        return "not pretrained"
    at = f", weights after step {init.partition('@')[2]}" if "@" in init else ""
    if known is None:
        return f"pretrained on {pretrain}{at}"
    titles = " + ".join(dataset_info(name, scene.extras).title for name in known.datasets)
    named = f"{pretrain} ({titles})" if pretrain != "+".join(known.datasets) else titles
    return (
        f"pretrained on {named}, {_range(known.cases, 'case')}{_expected(scene.protocol, row)}; "
        f"{_range(known.steps, 'step')}{at}, batch {known.batch}, {known.optimiser} at {known.lr:g}, "
        f"{known.schedule} schedule, {known.precision}"
    )


def _range(ends: tuple[int, int], noun: str) -> str:
    return counted(ends[0], noun) if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,} {noun}s"


def _expected(protocol: Protocol, row: str) -> str:
    """Return the number of cases that a mixture's paper prints, where the row reads all of that mixture."""
    own, _ = row_of(protocol, row)
    if own is None or protocol.pretrain is None:
        return ""
    section = pretrain_of(protocol, own)
    whole = mixture.mixture(section.mixture).expected_cases if section.mixture and not section.take else None
    return f" of {whole:,} expected" if whole else ""


def taken_over(scene: Scene) -> list[str]:
    """Return what each row took over, whence, and what its controls are."""
    made = []
    for row, text in scene.extras.receipts.items():
        known, _ = row_of(scene.protocol, row)
        given = known.init if known else None
        elsewhere = "pretrained elsewhere, so no guard looked for test cases in it; "
        made.append(f"{scene.named(row)}: {f'from {given}, {elsewhere}' if given else ''}{text}.")
    return made + [CONTROLS[control] for control in scene.protocol.controls]
