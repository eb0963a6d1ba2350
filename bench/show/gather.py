"""What a report shows besides rows, gathered from the manifests and files of the jobs behind them."""

from __future__ import annotations

import io
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench import digest, registry
from bench.data import participants
from bench.data.roots import Roots, adapter
from bench.dataset import Case
from bench.errors import BenchError, Damaged
from bench.job import DESCRIBED, MANIFEST, SPEC, Job
from bench.jobs.guard import spec as guard
from bench.jobs.kind import MAPS
from bench.jobs.pretrain.spec import PretrainSpec
from bench.jobs.scoring import targets_of
from bench.metrics.request import LATENCY, REGRESSION
from bench.nets.catalog import ARCHITECTURES
from bench.phantoms.synthetic import is_synthetic
from bench.protocol import Protocol, mixture, row_of
from bench.protocol.sections import JUDGES
from bench.record import CELL
from bench.report.names import declared_info, with_network
from bench.report.supplement import (
    Cost,
    Course,
    Curves,
    DatasetInfo,
    Failure,
    Ingredient,
    Leak,
    Pretraining,
)
from bench.runtime import stale
from bench.show.words import duration
from bench.store import Store, read_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bench.plan import Cell, Plan

UNSCORED = (
    "predicted, but its scores for this protocol (or the result of its guard) are missing; run the protocol "
    "again"
)
ALIKE = 1e-6  # predictions that differ by less, as a share of the largest, are one
POINTS = 100  # of a fine-tuning's curve
OVERLAPS = ("dice", "iou")
FAR = 0.5  # an overlap that one label in every voxel seldom gets
FILE_NAME = re.compile(r"[^\w.-]+")  # what no file's name needs
HUGE = 1e15  # beyond it nothing is drawn or printed
FINISHED = {
    **MANIFEST,
    **DESCRIBED,
    "method?": str,
    "figure?": {"term": str, "says": str, "chance?": str, "rises?": bool},
    "online_probe?": {"dataset": str, "metric": str, "patients": int},
    "receipt?": {
        "matched": int,
        "share": float,
        "parameters": int,
        "missing": [str],
        "left_random": int,
        "reshaped": [{"name": str, "how": str}],
        "gaps?": [str],
        "left_open?": str,
    },
    "choice?": {"best": int, "scores": [float], "settings": [str], "on?": str},
    "provenance?": {
        "packages": dict,
        "date": str,
        "commit?": str,
        "modified?": bool,
        "changed?": str,
        "source?": str,
        "sources?": {"*": str},
    },
}
Chains = list[tuple[Any, dict[str, dict[str, Any]]]]  # a cell, and the jobs it stands on by id


def chains(table: pd.DataFrame, store: Store, guards: Mapping[str, str]) -> Chains:
    """Return every cell of the rows with the jobs behind it, guards too: manifests, or kind and needs."""
    cells = table[["job", *CELL, "dataset", "pretrain"]].drop_duplicates()
    return [(cell, _chain(store, cell.job, guards)) for cell in cells.itertuples(index=False)]


def _behind(behind: Chains, kind: str) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """Yield every cell with each job of a kind that it stands on: id, and manifest or kind and needs."""
    for cell, chain in behind:
        for job, described in chain.items():
            if described["kind"] == kind:
                yield cell, job, described


def provenance(behind: Chains) -> dict[str, str]:
    """Return what produced the numbers: every commit, device and torch version that took part."""
    manifests = [m for _, chain in behind for m in chain.values() if "provenance" in m]
    if not manifests:
        return {}
    origins = [m["provenance"] for m in manifests]

    def every(values: Iterable[Any], between: str = ", ") -> str:
        return between.join(sorted({str(v) for v in values if v not in (None, "")}))

    return {
        "bench": every(p["packages"]["bench"] for p in origins),
        "commit": every(map(_commit, origins), "; "),
        **{
            package: every(p["packages"][package] for p in origins)
            for package in ("torch", "monai")
        },
        **{fact: every(p[fact] for p in origins) for fact in ("device", "threads")},
        "last run": max(p["date"] for p in origins),
        "attempts": str(max(m["attempts"] for m in manifests)),
    }


def _commit(origin: dict[str, Any]) -> str:
    """Return the commit behind a job and, where files differed, so: ``abc123, modified (digest d4e5)``."""
    commit, changed = origin.get("commit") or "", origin.get("changed") or ""
    if not origin.get("modified"):
        return str(commit)
    return f"{commit or 'no commit'}, modified" + (f" (digest {changed})" if changed else "")


def other_source(behind: Chains) -> list[str]:
    """Return in words which jobs behind the numbers other source files made."""
    finished = {job: m for _, chain in behind for job, m in chain.items() if "provenance" in m}
    return stale.lines(stale.stale(finished).values())


def _chain(store: Store, job: str, guards: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return an evaluate job and everything it stands on, by id: manifest, or kind and needs."""
    chain: dict[str, dict[str, Any]] = {}
    waiting = [job, *filter(None, [guards.get(job)])]
    while waiting:
        current = waiting.pop()
        described = digest.manifest(store.jobs / current, FINISHED)
        if described is None:
            described = (read_json(store.work / current / "job.json", SPEC) or {}).get("job")
        if described is not None and current not in chain:
            chain[current] = described
            waiting += described["needs"]
    return chain


def costs(behind: Chains, table: pd.DataFrame) -> Iterator[Cost]:
    """Yield what each row used, by stage, and how long its network takes for one crop."""
    timed = table[table["metric"].eq(LATENCY) & table["value"].notna()]
    for row, seconds in timed.groupby("row", sort=False)["value"].median().items():
        yield Cost(str(row), "one crop forward", seconds=float(seconds))
    per: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for cell, chain in behind:
        for job, described in chain.items():
            if described["kind"] not in ("prepare", "guard") and "seconds" in described:
                per.setdefault((cell.row, described["kind"]), {})[job] = described
    for (row, stage), jobs in per.items():
        manifests = list(jobs.values())
        yield Cost(
            row,
            f"{stage} ({len(manifests)} jobs)" if len(manifests) > 1 else stage,
            seconds=sum(m["seconds"] for m in manifests),
            memory_mb=_largest([m.get("peak_memory_mb") for m in manifests]),
            device_mb=_largest([m["peak_device_mb"] for m in manifests if "peak_device_mb" in m]),
            steps=sum(m.get("steps", 0) for m in manifests) or None,
            samples=sum(m.get("samples", 0) for m in manifests) or None,
            voxels=sum(m.get("voxels", 0) for m in manifests) or None,
        )


def _largest(peaks: list[float | None]) -> float | None:
    """Return the largest of some peaks, None where one is not known, for it may be the largest."""
    measured = [peak for peak in peaks if peak is not None]
    return max(measured) if measured and len(measured) == len(peaks) else None


def pretrainings(behind: Chains, jobs: Mapping[str, Job]) -> list[Pretraining]:
    """Return what each row was pretrained on, rows that share it together, a row's mixtures apart.

    Args:
        behind: cells and the manifests behind them, which count the cases.
        jobs: the plan's, by id.
    """
    # row, mixture: cases and unlabelled by job
    read: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for cell, job, described in _behind(behind, "pretrain"):
        if job in jobs and "cases" in described:
            # older manifests do not count the unlabelled ones
            counts = described["cases"], described.get("unlabelled", 0)
            read.setdefault((cell.row, cell.pretrain), {})[job] = counts
    alike: dict[Pretraining, list[str]] = {}
    for (row, name), by_job in read.items():
        # folds and seeds differ in what they read
        specs: list[PretrainSpec] = [jobs[job].spec for job in by_job]
        cases, unlabelled = zip(*by_job.values(), strict=True)
        training, steps = specs[0].pretrain, [spec.pretrain.steps or 0 for spec in specs]
        pretraining = Pretraining(
            rows=(),
            datasets=tuple(dict.fromkeys(part.dataset for part in specs[0].data)),
            cases=(min(cases), max(cases)),
            steps=(min(steps), max(steps)),
            batch=training.batch,
            optimiser=training.optimiser.name,
            lr=training.optimiser.lr,
            schedule=training.schedule.name,
            precision=training.precision,
            name=name,
            unlabelled=(min(unlabelled), max(unlabelled)),
        )
        alike.setdefault(pretraining, []).append(row)
    return [replace(pretraining, rows=tuple(rows)) for pretraining, rows in alike.items()]


def ingredients(protocol: Protocol, plan: Plan, store: Store) -> tuple[Ingredient, ...]:
    """Return what a pretraining of the protocol read of each entry of its mixture, where a view shows that.

    It is the first that is done and reads the protocol's own data sets; nothing where there is none.
    """
    section = protocol.pretrain
    if section is None or all(view.draw != "mixture" for view in protocol.layout.views):
        return ()
    datasets = [part.dataset for part in mixture.parts(section)]
    for job in dict.fromkeys(c.pretrain for c in plan.cells[protocol.name] if c.pretrain):
        spec = plan.spec(job, PretrainSpec)
        if [source.dataset for source in spec.data] == datasets and store.done(job):
            with suppress(BenchError):  # what it read is not whole here
                return _read(spec, [store.jobs / need for need in plan.jobs[job].needs], plan.roots)
    return ()


def _read(spec: PretrainSpec, needs: list[Path], roots: dict[str, str]) -> tuple[Ingredient, ...]:
    """Return the same of one pretraining; ``needs``: the folder of each data set, then a guard's."""
    from bench.data.index import Index
    from bench.data.prepared import opened
    from bench.jobs.inputs import mixed

    names, folders = [part.dataset for part in spec.data], needs[: len(spec.data)]
    gone = guard.seen(needs[len(names)]) if spec.leaks == "drop" else set()
    cases: list[list[str]] = [[] for _ in names]
    for number, case in mixed([opened(f) for f in folders], spec.data, spec.take, spec.seed, roots):
        cases[number] += [case.id] if (names[number], case.id) not in gone else []
    slices = [
        sum(int(index.row(case)["shape"][2]) for case in ids)
        for index, ids in zip(map(Index, folders), cases, strict=True)
    ]
    return tuple(
        Ingredient(*columns) for columns in zip(names, map(len, cases), slices, strict=True)
    )


def datasets(protocol: Protocol, plan: Plan) -> Iterator[DatasetInfo]:
    """Yield what is known of every data set that a protocol reads and that is on this machine."""
    mixtures = [
        plan.spec(c.pretrain, PretrainSpec).data for c in plan.cells[protocol.name] if c.pretrain
    ]
    names = dict.fromkeys(
        [*(t.dataset for t in protocol.finetune), *(e.dataset for d in mixtures for e in d)]
    )
    for name in names:
        if name in plan.roots:
            root = Path(plan.roots[name])
            kind = adapter(name, Roots(None, {name: root}))
            yield declared_info(name, kind, synthetic=is_synthetic(root))
        elif name in registry.names("dataset"):
            yield declared_info(name, registry.load("dataset", name)())


def receipts(behind: Chains) -> dict[str, str]:
    """Return what each row's fine-tuning took over from the weights it starts from, in words."""
    texts: dict[str, str] = {}
    for cell, _, described in _behind(behind, "finetune"):
        if receipt := described.get("receipt"):
            maker = ""
            if described.get("method"):
                maker = f"the weights are pretrained by {described['method']}; "
            texts.setdefault(cell.row, maker + _receipt(receipt))
    return texts


def gaps(behind: Chains) -> dict[str, tuple[str, ...]]:
    """Return, of each row whose weights lack kinds of layers or stages of the encoder, which."""
    lacking = (
        (cell.row, described.get("receipt", {}))
        for cell, _, described in _behind(behind, "finetune")
    )
    return {row: tuple(receipt["gaps"]) for row, receipt in lacking if receipt.get("gaps")}


def choices(behind: Chains) -> dict[str, str]:
    """Return, of each row with a grid, which recipes its runs chose, and what trying them took, in words."""
    runs: dict[str, dict[tuple[str, int], list[dict[str, Any]]]] = {}
    tried: dict[str, dict[str, float]] = {}
    for cell, chain in behind:
        tunings = {
            job: manifest for job, manifest in chain.items() if manifest["kind"] == "finetune"
        }
        chosen = [manifest["choice"] for manifest in tunings.values() if "choice" in manifest]
        if chosen:
            runs.setdefault(cell.row, {}).setdefault((cell.section, int(cell.fraction)), []).extend(
                chosen
            )
            seconds = {
                job: manifest.get("seconds", 0.0)
                for job, manifest in tunings.items()
                if "choice" not in manifest
            }
            tried.setdefault(cell.row, {}).update(seconds)
    return {row: _choices(of, tried[row]) for row, of in runs.items()}


def _choices(of: Mapping[tuple[str, int], list[dict[str, Any]]], tried: Mapping[str, float]) -> str:
    parts, count = [], 0
    for (section, fraction), choices in of.items():
        names = Counter(choice["settings"][choice["best"]] for choice in choices)
        shown = "; ".join(
            f"{n} of {len(choices)} runs chose {name}" for name, n in names.most_common()
        )
        scores = [fmean(of) for of in zip(*(choice["scores"] for choice in choices), strict=True)]
        tried_scores = "; ".join(
            f"{score:.3f} with {name}"
            for score, name in zip(scores, choices[0]["settings"], strict=True)
        )
        parts += [
            f"Section “{section}”, {fraction} % of the labels: {shown}",
            f"Mean validation score: {tried_scores}",
        ]
        count = max(count, *(len(choice["settings"]) for choice in choices))
    took = f"{len(tried)} fine-tunings, {duration(sum(tried.values()))}"
    judges = choices[0].get("on", JUDGES["val"])
    return f"chose among {count} settings on {judges} ({took}). {'. '.join(parts)}"


def _receipt(receipt: Mapping[str, Any]) -> str:
    share = f"{100 * receipt['share']:.1f} %"
    changes = [f"{r['name']} ({r['how']})" for r in receipt["reshaped"]]
    encoder = f"the encoder's {receipt['parameters']:,} parameters"
    text = f"{receipt['matched']} tensors are loaded, with {share} of {encoder}"
    for what, names in (("missing", receipt["missing"]), ("reshaped", changes)):
        if names:
            text += f"; {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
    text += f"; {receipt['left_random']} tensors of other parts of the network start at random"
    if receipt.get("gaps"):
        text = f"{text}; NOT loaded, as the row allows: the encoder's {', '.join(receipt['gaps'])}"
    return f"{text}; {receipt['left_open']}" if receipt.get("left_open") else text


def leaks(plan: Plan, store: Store, protocol: str, table: pd.DataFrame) -> Iterator[Leak]:
    """Yield the test cases that rows of a protocol met in their pretraining, once for each section.

    A guard looks for those of a data set; where two sections share it, each names what its own rows test.
    """
    cases = table[["section", "case"]].drop_duplicates()
    tested = {str(name): {*ids} - {""} for name, ids in cases.groupby("section")["case"]}
    sections: dict[str, set[str]] = {}
    for cell in plan.cells[protocol]:
        sections.setdefault(cell.columns["dataset"], set()).add(cell.columns["section"])
    seen: set[tuple[str, str, str]] = set()
    for cell in plan.cells[protocol]:
        job = cell.guard
        row = cell.row
        dataset = cell.columns["dataset"]
        section = cell.columns["section"]
        if cell.pretrain is None or job is None:
            continue
        if not store.done(job) or (row, section, job) in seen:
            continue
        seen.add((row, section, job))
        result = guard.read(store.jobs / job)
        ids = tested.get(section, set()) if len(sections[dataset]) > 1 else set()
        met = [
            k for k in result.leaks if k.test_dataset == dataset and (not ids or k.test_case in ids)
        ]
        if not met:
            continue
        why = {k.test_case: k.why for k in reversed(met)}  # of a case found both ways, the first
        pretrained = {(k.dataset, k.case) for k in met}
        cases = tuple(f"{c} ({w})" for c, w in sorted(why.items()))
        drops = plan.spec(cell.pretrain, PretrainSpec).leaks == "drop"
        n = len(ids) or result.tests.get(dataset, 0)
        yield Leak(row, section, n, cases, len(pretrained), drops)


def groups(
    protocol: Protocol, table: pd.DataFrame, roots: Mapping[str, str]
) -> dict[str, dict[str, dict[str, str]]]:
    """Return by data set, patient and column the groups of those who were tested.

    Args:
        protocol: says which.
        table: its records.
        roots: folders of data sets that state groups of their own; others are left out.

    Raises:
        BenchError: a table of groups that cannot be read, or that lacks a column.
    """
    grouped = {}
    for name, grouping in protocol.groups.items():
        tested = table.loc[table["dataset"].eq(name), ["case", "patient"]].drop_duplicates()
        pairs = [(str(c), str(p)) for c, p in tested.itertuples(index=False, name=None) if p]
        if not (pairs and (grouping.file or name in roots)):
            continue
        cases = list[Case]()
        if not grouping.file:
            root = Path(roots[name])
            cases = adapter(name, Roots(None, {name: root})).listed(root)
        listed = participants.of_grouping(grouping.file, protocol.folder, name, cases)
        grouped[name] = listed.groups(pairs, grouping.by)
    return grouped


def constant(protocol: Protocol, plan: Plan, store: Store) -> Iterator[str]:
    """Yield which classifications and regressions predict the same class or number for every test case."""
    import numpy as np

    from bench.jobs import class_scores  # which loads Blosc2

    runs: dict[tuple[str, str, int], list[bool]] = {}
    for cell in plan.cells[protocol.name]:
        columns, folder = cell.columns, store.jobs / cell.evaluate
        if columns["task"] != MAPS and (folder / class_scores.FILE).is_file():
            _, scores, classes = class_scores.read(folder)
            predicted = scores[:, 0] if columns["task"] == REGRESSION else classes
            same = len(predicted) > 1 and bool(np.ptp(predicted) <= ALIKE * np.abs(predicted).max())
            runs.setdefault((columns["section"], cell.row, columns["fraction"]), []).append(same)
    for (section, row, fraction), alike in runs.items():
        if any(alike):
            which = f"{sum(alike)} of {len(alike)} runs predict"
            which = which if len(alike) > 1 else "its run predicts"
            yield (
                f"{section}, row {row}, {fraction} % of the labels: {which} the same for every test case, so the "
                "score does not depend on the scans."
            )


def chance(protocol: Protocol, plan: Plan, store: Store) -> dict[str, dict[str, float]]:
    """Return, by section and metric, the best score that one prediction for all its test cases gets.

    Of accuracy that is the share of the commonest class, of the mean absolute error that of the median; of values
    that are measured in label maps it is not known. Patients count alike, as in the tables.
    """
    import pandas as pd

    from bench.data.prepared import Prepared
    from bench.jobs import class_scores

    true: dict[str, dict[int, list[tuple[str, float]]]] = {}  # by section and fold
    for cell in plan.cells[protocol.name]:
        section, fold, folder = (
            cell.columns["section"],
            cell.columns["fold"],
            store.jobs / cell.evaluate,
        )
        value = protocol.finetune[protocol.sections.index(section)].value
        measured = cell.columns["task"] == MAPS or (value is not None and not value.meta)
        if measured or fold in true.get(section, {}) or not (folder / class_scores.FILE).is_file():
            continue
        if not store.done(basis := _prepared(store, cell.evaluate)):
            continue
        prepared = Prepared(store.jobs / basis)
        labels = {
            case.id: case.meta[value.meta] if value else case.label for case in prepared.cases()
        }
        cases, *_ = class_scores.read(folder)
        known = [(prepared.patient(case), float(str(labels[case]))) for case in cases]
        true.setdefault(section, {})[fold] = known
    levels = {}
    for section, folds in true.items():
        table = pd.DataFrame(
            [pair for fold in folds.values() for pair in fold], columns=["who", "true"]
        )
        regression = protocol.finetune[protocol.sections.index(section)].value is not None
        constants = [table["true"].median()] if regression else table["true"].unique()
        errors = [(table["true"] - one).abs() for one in constants]
        scores = [error if regression else error.eq(0) for error in errors]
        means = [score.groupby(table["who"]).mean().mean() for score in scores]
        levels[section] = {"mae" if regression else "accuracy": float(max(means))}
    return levels


def one_label(
    table: pd.DataFrame, protocol: Protocol, plan: Plan, store: Store
) -> dict[str, dict[str, float]]:
    """Return, by section and overlap metric, the best mean over targets that one label in every voxel gets.

    References are opened only where a row from scratch has less than a half: elsewhere nobody needs to know.
    """
    import numpy as np
    import pandas as pd

    from bench.data.cache import Pack
    from bench.data.prepared import Prepared

    bare = table[table["init"].eq("random") & table["metric"].isin(OVERLAPS)]
    means = bare.groupby(["section", "metric", "row", "fraction"], observed=True)["value"].mean()
    low = set(means.index[means < FAR].get_level_values("section"))
    scorings, shares = plan.scoring_of[protocol.name], dict[str, dict[tuple[str, str], Any]]()
    read = set[tuple[str, int]]()  # sections and folds
    for cell in plan.cells[protocol.name]:
        section, place = cell.columns["section"], (cell.columns["section"], cell.columns["fold"])
        if section not in low or place in read or cell.columns["task"] != MAPS:
            continue
        if not (store.done(cell.evaluate) and store.done(basis := _prepared(store, cell.evaluate))):
            continue
        read.add(place)
        prepared, scoring = Prepared(store.jobs / basis), scorings[section]
        painted = {v for values in targets_of(scoring).values() for v in values}
        for case in Pack(store.jobs / cell.evaluate, "prediction"):
            native = prepared.native(case)
            void = 0 if scoring.ignore is None else np.count_nonzero(native == scoring.ignore)
            size = max(1, native.size - void)  # void counts nowhere
            shares.setdefault(section, {})[prepared.patient(case), case] = {
                value: np.count_nonzero(native == value) / size for value in painted
            }
    levels: dict[str, dict[str, float]] = {}
    for section, known in shares.items():
        targets = targets_of(scorings[section])
        share = pd.DataFrame(
            {
                t: [sum(of[v] for v in values) for of in known.values()]
                for t, values in targets.items()
            },
            index=pd.MultiIndex.from_tuples(known),
        )
        if (
            scorings[section].empty == "skip"
        ):  # a case without the label is not scored; else it gets 0
            share = share.where(share > 0)
        levels[section] = {}
        for metric, score in {"dice": 2 * share / (1 + share), "iou": share}.items():
            each = score.groupby(level=0).mean().mean().fillna(0)  # cases, then patients
            painted = {v for values in targets.values() for v in values}
            best = [each[[t for t, v in targets.items() if one in v]].sum() for one in painted]
            levels[section][metric] = float(max(best) / len(targets))
    return levels


def _prepared(store: Store, evaluate: str) -> str:
    """Return the job that prepared what an evaluation predicts."""
    return str(store.manifest(evaluate)["needs"][1])


def submissions(protocol: Protocol, plan: Plan, store: Store) -> Iterator[str]:
    """Yield what was predicted for a challenge's server, section by section, and the command that gets it."""
    for name, section in zip(protocol.sections, protocol.finetune, strict=True):
        cells = [c for c in plan.cells[protocol.name] if c.columns["section"] == name]
        if section.submit and cells and not any(c.submission for c in cells):
            requested = ", ".join(f"{k} {v}" for k, v in section.submit.items())
            yield f"{name}: nothing was predicted, because no case here has {requested}."
        for cell in cells:
            job = cell.submission
            if job is None or not store.done(job):
                continue
            several = [k for k in CELL[2:] if len({c.columns[k] for c in cells}) > 1]
            which = "".join(f", {k.replace('_', ' ')} {cell.columns[k]}" for k in several)
            yield (
                f"{name}, row {cell.row}{which}: {store.manifest(job).get('cases')} cases were predicted and not "
                f"scored here; bench export {job} --format submission --to FILE.zip writes them in the server's format."
            )


def weights(protocol: Protocol, plan: Plan, store: Store) -> Iterator[str]:
    """Yield which jobs pretrained each row, and the command that writes their weights to a file."""
    cells: dict[str, dict[str, Cell]] = {}  # row: a cell of each of its finished pretrainings
    for cell in plan.cells[protocol.name]:
        job, (declared, variant) = cell.pretrain, row_of(protocol, cell.row)
        pure = declared is not None and declared.dose == 1 and not variant
        if job is not None and pure and store.done(job):
            cells.setdefault(cell.row, {}).setdefault(job, cell)
    if cells:
        yield "These commands write the weights to files. For an output folder other than runs add --out DIR."
    for row, by_job in cells.items():
        network = plan.spec(next(iter(by_job)), PretrainSpec).network
        yield _export(row, by_job, (network.network, network.preset) in ARCHITECTURES)


def _export(row: str, by_job: Mapping[str, Cell], for_nnunet: bool) -> str:
    """Return a row's pretrainings, what tells several apart, and the command that exports the first."""
    first, *_ = by_job.values()
    keys = [
        key
        for key in ("section", "pretrain_seed", "fold")
        if any(cell.columns[key] != first.columns[key] for cell in by_job.values())
    ]
    jobs = []
    for job, cell in by_job.items():
        which = ", ".join(f"{key.removeprefix('pretrain_')} {cell.columns[key]}" for key in keys)
        jobs.append(f"{job} ({which})" if which else job)
    options = {key: "dataset" if key == "section" else key for key in keys}
    picked = "".join(
        f" --only {option}={shlex.quote(str(first.columns[key]))}"
        for key, option in options.items()
    )
    suffix, format = (".pth", " --format nnunet") if for_nnunet else (".safetensors", "")
    command = f"bench export {shlex.quote(row)}{picked} --to {FILE_NAME.sub('_', row)}{suffix}"
    return f"{row}: job{'s' if len(jobs) > 1 else ''} {', '.join(jobs)}; {command}{format}"


def failures(behind: Chains, table: pd.DataFrame, store: Store) -> Iterator[Failure]:
    """Yield the first job that failed behind each cell, if any; else why its rows are a hole, if they are."""
    holes = set(table.loc[table["status"].eq("failed"), "job"])
    for cell, chain in behind:
        labels = {"section": cell.section, "fraction": int(cell.fraction), "seed": int(cell.seed)}
        for job in chain:
            why = None if store.done(job) else store.failure(job)
            if why is not None:
                yield Failure(
                    job, cell.row, why["reason"], why["log"], **labels, attempts=why["attempts"]
                )
                break
        else:
            if cell.job in holes and store.done(cell.job):
                yield Failure(cell.job, cell.row, UNSCORED, "", **labels, hole="not scored")


def curves(behind: Chains, store: Store) -> dict[str, Curves]:
    """Return the curve of each row's first pretraining, without the figure that is drawn by itself.

    Of rows that share it the first alone.
    """
    drawn, rows, seen = dict[str, Curves](), set[str](), set[str]()
    for cell, job, described in _behind(behind, "pretrain"):
        file = store.jobs / job / "curve.csv"
        if cell.row in rows or not file.exists():
            continue
        rows.add(cell.row)
        if job in seen:
            continue
        seen.add(job)
        figure = described.get("figure") or {}
        aside = {figure.get("term"), figure.get("chance")} - {"step", "total"}
        shown = logged(file).drop(columns=list(aside), errors="ignore")
        shown = shown.rename(columns={"total": "loss"})
        drawn[cell.row] = {
            n: tuple(v if isfinite(v) else None for v in shown[n].tolist()) for n in shown
        }
    return drawn


def courses(behind: Chains, store: Store) -> Iterator[Course]:
    """Yield the loss of every finished fine-tuning, in few points: each is the mean of its neighbours."""
    for cell, job, manifest in _behind(behind, "finetune"):
        file = store.jobs / job / "curve.csv"
        # one of a grid; the one that was chosen has its curve, too
        if manifest.get("validation") is not None:
            continue
        if file.exists():
            table = logged(file, "total")[["step", "total"]]
            table = table[table["total"].abs() < HUGE]  # nor NaN
            steps, losses = (thinned(table[name].to_numpy(float), POINTS) for name in table)
            cell_key = {name: getattr(cell, name) for name in CELL}
            yield Course(**cell_key, steps=steps, losses=losses)


def thinned(values: np.ndarray, most: int) -> tuple[float, ...]:
    """Average neighbours until at most ``most`` are left; six digits each."""
    size = max(1, -(-len(values) // most))
    return tuple(
        float(f"{values[at : at + size].mean():.6g}") for at in range(0, len(values), size)
    )


def logged(file: Path, *columns: str) -> pd.DataFrame:
    """Return a table of numbers that a job logged by step.

    Raises:
        Damaged: it is not what was published, or lacks one of ``columns``; names it.
    """
    import pandas as pd

    try:
        table = pd.read_csv(io.BytesIO(digest.read(file)))
        if "step" not in table or not all(t.kind in "if" for t in table.dtypes):
            raise ValueError("a curve has steps and numbers only")
        if lacking := [name for name in columns if name not in table]:
            raise ValueError(f"no column {lacking[0]!r}")
        return table
    except (OSError, ValueError) as error:
        raise Damaged(file, str(error)) from None


def row_title(protocol: Protocol, name: str, methods: Mapping[str, str]) -> str:
    """Return what figures call a row."""
    row, more = row_of(protocol, name)
    if row is None:
        return name
    return with_network(protocol, name, (row.title or methods.get(row.method, row.method)) + more)
