"""What the columns of a table of scores are: guessed by their names, corrected by who asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.errors import BenchError, unknown

ROLES = (
    *("method", "case", "patient", "run", "pretraining", "fold", "dataset", "target"),
    *("metric", "score"),
)
NAMES: dict[str, tuple[str, ...]] = {
    "method": (
        *("method", "model", "modelname", "algorithm", "algname", "algo", "network", "approach"),
        *("team", "system", "submission", "methodname", "algorithmname", "networkname", "teamname"),
    ),
    "patient": (
        *("patient", "patientid", "patientname", "subject", "subjectid", "participant"),
        *("participantid", "pid", "person"),
    ),
    "case": (
        *("case", "caseid", "casename", "testcase", "image", "imageid", "imagename", "filename"),
        *("file", "scan", "scanid", "volume", "volumeid", "series", "study", "sample", "sampleid"),
        *("slide", "item", "itemid", "instance", "instanceid", "example", "name", "id", "query"),
        "question",
    ),
    "run": ("run", "runid", "seed", "randomseed", "trial", "repeat", "repetition", "replicate"),
    "pretraining": ("pretraining", "pretrainseed", "pretrainingseed"),
    "fold": ("fold", "cvfold"),
    "dataset": (
        *("dataset", "datasetname", "data", "cohort", "site", "benchmark", "challenge", "task"),
    ),
    "target": (
        *("target", "label", "labelname", "organ", "structure", "region", "roi", "class"),
        *("tissue", "lesion"),
    ),
    "metric": ("metric", "metricname", "measure"),
    "score": ("score", "value", "metricvalue", "metricscore", "result", "mainscore"),
}
SUMMARIES = frozenset(
    {"mean", "average", "avg", "overall", "std", "sd", "stdev", "median", "rank", "ranking"}
    | {"params", "parameters", "index", "nparameters", "numberofparameters", "memoryusagemb"}
    | {"embeddingdimensions", "maxtokens", "zeroshot"}
)
UNNAMED = re.compile(r"Unnamed: \d+$|^$|(mean|rank|average) ?\(", re.IGNORECASE)
WIDE = ("methods", "targets", "metrics", "cases")

# Words of a metric's name: a share grows with quality, and so on.
SHARES = frozenset(
    {"dice", "dsc", "iou", "jaccard", "nsd", "surfacedice", "cldice", "f1", "fscore", "accuracy"}
    | {"acc", "auc", "auroc", "auprc", "ap", "map", "mrr", "ndcg", "precision", "recall"}
    | {"sensitivity", "specificity", "kappa", "qwk", "mcc", "score", "mainscore", "ssim"}
)
HIGHER = SHARES | {"psnr", "r2", "pearson", "spearman", "kendall", "correlation"}
LOWER = frozenset(
    {"hd", "hd95", "hd100", "hausdorff", "hausdorffdistance", "assd", "asd", "masd", "msd", "rmsd"}
    | {"distance", "loss", "error", "err", "rmse", "mae", "mse", "nll", "brier", "ece", "fid"}
    | {"lpips", "perplexity", "wer", "cer", "latency", "time", "seconds", "runtime"}
)
SAY_NOTHING = {"score", "mainscore"}  # beside another metric's word
TITLES = {"dsc": "dice", "jaccard": "iou", "hausdorff": "hd", "acc": "accuracy", "auroc": "auc"}


def plain(name: str) -> str:
    """Return a column's name in small letters and figures alone."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def words(name: str) -> list[str]:
    """Return the words of a name, as ``mean_dice_raw`` has three, the whole first."""
    parts = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return [plain(name), *filter(None, parts)]


def metric_in(name: str) -> str:
    """Return the metric that a name of a file or a column has in it, "" for none."""
    first = next(iter(_metrics_in(name)), "")
    return TITLES.get(first, first)


def _metrics_in(name: str) -> list[str]:
    """Return all words of a name that are metrics: two in ``dice_loss``."""
    singular = [w if w in LOWER | HIGHER else w.removesuffix("s") for w in words(name)]
    return [word for word in singular if word in LOWER | HIGHER]


@dataclass(frozen=True)
class Measure:
    """One metric: which way is better, and its unit; ``unit`` is "1" for shares of one."""

    name: str
    higher: bool
    unit: str
    why: str  # how that is known


def measure(name: str, higher: bool | None, *, alone: bool) -> Measure | None:
    """Return what is known of a metric; None where its direction is not.

    Args:
        name: as the table has it.
        higher: what the person states; of several metrics it is of those that nobody knows.
        alone: it is the only metric.
    """
    from bench.metrics.request import declared

    declaration, every = declared(name.lower()), _metrics_in(name)
    telling = [word for word in every if word not in SAY_NOTHING]
    ways = {word in HIGHER for word in telling}
    short = next(iter(telling or every), "") if len(ways) < 2 else ""
    if declaration is not None:
        guess, unit = declaration.higher_is_better, declaration.unit
    elif short:
        guess, unit = ways != {False}, "1" if short in SHARES else ""
    elif higher is None:
        return None
    else:
        return Measure(name, higher, "", "stated")
    if higher is not None and alone and higher != guess:
        return Measure(name, higher, unit, "stated")
    return Measure(name, guess, unit, "stated" if alone and higher is not None else "by its name")


def guessed(columns: Sequence[str], stated: Mapping[str, str], where: str) -> dict[str, str]:
    """Return which column has which role, those stated as they are.

    Args:
        columns: of the table.
        stated: role -> column; ``-`` for none.
        where: the table, for messages.

    Raises:
        BenchError: a column that is stated is not there, or has two roles.
    """
    roles = _stated(columns, stated, where)
    for role in ROLES:
        if role not in stated:
            left = {plain(c): c for c in reversed(columns) if c not in roles.values()}
            names = [left[name] for name in NAMES[role] if name in left]
            roles |= {role: names[0]} if names else {}
    return roles


def _stated(columns: Sequence[str], stated: Mapping[str, str], where: str) -> dict[str, str]:
    by_column = dict[str, str]()
    for role, column in stated.items():
        if column == "-":
            continue
        if column not in columns:
            raise BenchError(f"{where}: --{role}: {unknown('column', column, columns)}")
        if column in by_column:
            raise BenchError(
                f"{where}: column {column!r} cannot be --{by_column[column]} and --{role} both"
            )
        by_column[column] = role
    return {role: column for column, role in by_column.items()}


def summaries(columns: Iterable[str]) -> list[str]:
    """Return the columns that sum up others: means, ranks, indices."""
    return [c for c in columns if plain(c) in SUMMARIES or UNNAMED.match(c)]
