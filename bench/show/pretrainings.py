"""What a report says of pretrainings: their figures, and how their encoders' embeddings spread and lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import digest, registry
from bench.data.npz import Arrays
from bench.errors import BenchError, Damaged
from bench.jobs.embed.spec import FILE as CLOUD
from bench.jobs.embed.spec import NAMES, Embedded
from bench.jobs.pretrain.spec import FILE
from bench.protocol import Protocol, Row, base_of
from bench.report.supplement import Cloud, Pretext, ProbeCurve, Supplement
from bench.show import gather
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan

DRAWN = 200  # points of a curve


def figures_and_clouds(
    protocol: Protocol, plan: Plan, store: Store, methods: Mapping[str, str]
) -> tuple[tuple[Pretext, ...], tuple[Cloud, ...], tuple[str, ...]]:
    """Return what the pretrainings tracked, the encoders' clouds, and which of these are left out."""
    pretexts = []
    trained = list(_done_jobs(protocol, plan, store, "pretrain", each=True))
    rows_of = Counter(row for _, rows, _ in trained for row in rows)
    for job, rows, seed in trained:
        folder = store.jobs / job
        manifest = digest.manifest(folder, gather.FINISHED) or {}
        figure = manifest.get("figure")
        if figure is not None and (folder / "curve.csv").exists():
            several = any(rows_of[row] > 1 for row in rows)
            pretext = _pretext(rows, folder, figure, seed if several else None)
            pretexts.append(replace(pretext, probe=_probe(folder, manifest.get("online_probe"))))
    jobs = {job: title for title, job in plan.beside.get(protocol.name, {}).items()}
    how = protocol.embeddings.layout if protocol.embeddings else "tsne"
    clouds = [
        _cloud(title, store.jobs / job, how) for job, title in jobs.items() if store.done(job)
    ]
    for job, rows, _ in _done_jobs(protocol, plan, store, "embed"):
        titles = dict.fromkeys(gather.row_title(protocol, row, methods) for row in rows)
        if job not in jobs:
            clouds.append(_cloud("; ".join(titles), store.jobs / job, how, rows))
    cells = [
        (c.embed, gather.row_title(protocol, c.row, methods)) for c in plan.cells[protocol.name]
    ]
    titled = [(job, title) for job, title in [*jobs.items(), *cells] if job is not None]
    failed = {title: None if store.done(job) else store.failure(job) for job, title in titled}
    lost = [
        f"The panel of {title} is left out: its job failed ({why['reason']})."
        for title, why in failed.items()
        if why is not None
    ]
    return tuple(pretexts), tuple(clouds), (*plan.absent.get(protocol.name, ()), *lost)


DoneJobs = Iterator[tuple[str, tuple[str, ...], int]]


def _done_jobs(
    protocol: Protocol, plan: Plan, store: Store, which: str, each: bool = False
) -> DoneJobs:
    """Yield every done job that a cell names, once, with the rows that stand on it and its seed.

    Variants and controls of a row are that row; of several pretrainings it shows the first that is done, or
    with ``each`` the first of every seed.
    """
    job_of: dict[tuple[str, int], str] = {}
    for cell in plan.cells[protocol.name]:
        job, name = getattr(cell, which), base_of(protocol, cell.row)
        key = (name, int(cell.columns["pretrain_seed"]) if each else 0)
        if job is not None and key not in job_of and store.done(job):
            job_of[key] = job
    for job in dict.fromkeys(job_of.values()):
        keys = [key for key, other in job_of.items() if other == job]
        yield job, tuple(dict.fromkeys(row for row, _ in keys)), keys[0][1]


def _pretext(
    rows: tuple[str, ...], folder: Path, figure: Mapping[str, Any], seed: int | None
) -> Pretext:
    columns = [figure["term"], *filter(None, [figure.get("chance")])]
    logged = gather.logged(folder / "curve.csv")
    lacking = [name for name in columns if name not in logged]  # a loss that never returned them
    table = _usable(logged.reindex(columns=["step", *columns]), "step", *columns)
    if len(columns) > 1 and figure.get("rises", True) is not False:
        # a guess finds all among the random keys of a first queue
        telling = (table[columns[1]] < 1).cummax()
        table = table[telling] if telling.any() else table
    steps, values, *guessed = (table[name].to_numpy(float) for name in ("step", *columns))
    std, rank, fell = _spread(folder / "embeddings.csv")
    last = max(1, len(table) // 10)
    return Pretext(
        row=rows[0],
        says=figure["says"],
        first=_mean(values[: max(1, len(table) // 100)]),
        last=_mean(values[-last:]),
        chance=_mean(guessed[0][-last:]) if guessed else None,
        rises=figure.get("rises", True) is not False,
        std=std,
        rank=rank,
        collapsed=fell,
        seed=seed,
        shared=rows[1:],
        steps=gather.thinned(steps, DRAWN),
        values=gather.thinned(values, DRAWN),
        chances=gather.thinned(guessed[0], DRAWN) if guessed else (),
        lacks=lacking[0] if lacking else "",
    )


def marked_untrained(protocol: Protocol, facts: Supplement) -> Iterator[Pretext]:
    """Yield each pretraining, marked where its row's loss leaves out the task that the figure is of.

    A method is imported only for a row that sets a parameter to 0 and is no better than guessing.
    """
    for pretext in facts.pretexts:
        row = protocol.rows.get(pretext.row) if pretext.guesses else None
        left_out = row is not None and 0 in row.params.values() and _leaves_out(row)
        yield replace(pretext, untrained=True) if left_out else pretext


def _leaves_out(row: Row) -> bool:
    try:
        method = registry.load("method", row.method)
    except BenchError:  # a plugin that is gone
        return False
    return row.params.get(method.figure.weight) == 0


def _probe(folder: Path, facts: Mapping[str, Any] | None) -> ProbeCurve | None:
    """Return the curve of an online probe, None where there was none."""
    if facts is None or not (folder / FILE).exists():
        return None
    metric = facts["metric"]
    table = _usable(gather.logged(folder / FILE, metric), "step", metric)
    steps, values = (
        gather.thinned(table[name].to_numpy(float), DRAWN) for name in ("step", metric)
    )
    return ProbeCurve(facts["dataset"], metric, facts["patients"], steps, values)


def _usable(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table[(table[list(columns)].abs() < gather.HUGE).all(axis=1)]  # nor NaN


def _spread(file: Path) -> tuple[tuple[float, float] | None, tuple[float, float] | None, bool]:
    """Return std and rank of the embeddings before the first step and after the last; have they collapsed?"""
    from bench.pretext.collapse import collapsed  # imports torch

    if not file.exists():
        return None, None, False
    table = _usable(gather.logged(file, "std", "rank"), "std", "rank")
    if not len(table):
        return None, None, False
    first, last = table.iloc[0], table.iloc[-1]
    std, rank = ((_plain(first[name]), _plain(last[name])) for name in ("std", "rank"))
    figures = {name: float(last[name]) for name in ("most", "leading") if name in table}
    return std, rank, bool(collapsed(std, rank[1], **figures))


def _plain(value: float) -> float:
    return float(f"{value:.6g}")


def _mean(values: np.ndarray) -> float | None:
    return _plain(values.mean()) if len(values) else None


def _cloud(title: str, folder: Path, how: str, rows: tuple[str, ...] = ()) -> Cloud:
    """Read one encoder's layout: t-SNE's falls back to that by PCA where samples are few."""
    arrays = Arrays(folder / CLOUD)
    embedded = digest.read_json(folder / NAMES, Embedded)
    points, linear, group = arrays[how], arrays["pca"], arrays["group"]
    try:
        if group.dtype.kind not in "iu":
            raise ValueError("groups are no whole numbers")
        if group.ndim != 1:
            raise ValueError("groups are one for each sample")
        layout = "PCA" if np.array_equal(points, linear) else "t-SNE"
        drawn = title, _scaled(points), tuple(group.tolist()), embedded.groups, layout
        cloud = Cloud(*drawn, embedded.std, embedded.rank, rows)
    except (TypeError, ValueError) as error:
        raise Damaged(arrays.path, str(error)) from None
    return cloud


def _scaled(points: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return points within -1 and 1, their middle at 0: only their places to each other say anything."""
    planar = points.dtype.kind == "f" and points.shape[1:] == (2,) and points.size
    if not planar or not (np.abs(points) < gather.HUGE).all():
        raise ValueError("no places in the plane")
    wide = points.astype(np.float64)
    low, high = wide.min(axis=0), wide.max(axis=0)
    reach = (high - low).max() / 2
    scaled = (wide - (low + high) / 2) / (reach if reach > 0 else 1)
    return tuple((float(x), float(y)) for x, y in scaled.round(4))
