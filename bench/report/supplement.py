"""What a report shows and rows do not carry. Everything here is optional."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.protocol import Origin
from bench.report.progress import Progress
from bench.source import Source
from bench.typed import sparse

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class DatasetInfo:
    """What a report says about one data set."""

    name: str
    title: str
    targets: tuple[str, ...] = ()  # in the order of the declaration: regions if it has any
    labels: tuple[tuple[int, str], ...] = ()  # value and name
    known: tuple[str, ...] = ()  # labels, then regions
    licence: str = ""  # empty where none is stated
    redistribution: bool | None = None  # may its images be passed on? None: nobody here said
    registered: bool = True  # False: a folder that describes itself
    synthetic: bool = False  # phantoms that bench wrote
    empty: str = "default"
    task: str = "segmentation"
    source: Source | None = None


@dataclass(frozen=True)
class Pretraining:
    """What rows were pretrained on and for how long, as the manifests of their jobs say.

    ``cases``, ``steps`` and ``unlabelled`` are the least and the most where the rows have several, one for
    each fold or seed. ``unlabelled`` counts the cases without a label.
    """

    rows: tuple[str, ...]
    datasets: tuple[str, ...]
    cases: tuple[int, int]
    steps: tuple[int, int]
    batch: int
    optimiser: str
    lr: float
    schedule: str
    precision: str
    name: str = ""  # of what was read, as the records have it
    unlabelled: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Ingredient:
    """What was read of one entry of the pretraining's mixture, as it was prepared."""

    dataset: str
    cases: int
    slices: int  # along z


@dataclass(frozen=True)
class Failure:
    """One job that failed for good, and where to read why.

    Without ``section``, ``fraction`` and ``seed`` it explains every empty cell of its row, as a
    failed pretraining does.
    """

    job: str
    row: str
    reason: str
    log: str
    section: str = ""  # of the protocol's fine-tuning
    fraction: int | None = None  # percent
    seed: int | None = None
    attempts: int = 1
    hole: str = "failed"  # what its cell prints: failed | not scored

    @property
    def line(self) -> str:
        """Return it in one line, for a terminal."""
        share = None if self.fraction is None else f"{self.fraction} %"
        seed = None if self.seed is None else f"seed {self.seed}"
        cell = " · ".join(filter(None, (self.row, self.section, share, seed)))
        where = ", ".join(filter(None, (cell, f"job {self.job}")))
        return f"{self.hole}: {where}: {self.reason}" + (f" (log {self.log})" if self.log else "")


@dataclass(frozen=True)
class Leak:
    """Test cases of one fine-tuning section that also stand in what a row was pretrained on."""

    row: str
    section: str
    tests: int  # test cases that were looked for
    cases: tuple[str, ...]  # those that were found, with what tells: "img0035 (patient)"
    read: int = 0  # cases of the pretraining that they were found in
    dropped: bool = False  # left out of the pretraining, or kept in it


@dataclass(frozen=True)
class Cost:
    """What one row used, measured; ``stage`` tells pretraining from fine-tuning."""

    row: str
    stage: str = ""
    seconds: float | None = None  # wall time
    memory_mb: float | None = None  # peak
    device_mb: float | None = None  # peak on the GPU
    steps: int | None = None
    samples: int | None = None
    voxels: int | None = None


@dataclass(frozen=True)
class ProbeCurve:
    """What an online probe told of an encoder as it pretrained, on patients it was not fitted to."""

    dataset: str
    metric: str  # dice or accuracy
    patients: int  # whose labels were read: half of them, rounded up, fitted it
    steps: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def scored(self) -> int:
        """Return on how many patients it was scored."""
        return self.patients // 2

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values):
            raise ValueError("a curve has a value for every step")


@dataclass(frozen=True)
class Pretext:
    """How one pretraining went: the figure of its method, and how its encoder's embeddings spread.

    ``first`` and ``last`` are means over the first and the last logged steps, ``chance`` what guessing
    gets over the latter. ``std`` and ``rank`` are of the same few samples before the first step and
    after the last.
    """

    row: str
    says: str  # what the figure is
    first: float | None = None
    last: float | None = None
    chance: float | None = None
    rises: bool = True  # is more better?
    std: tuple[float, float] | None = None
    rank: tuple[float, float] | None = None
    collapsed: bool = False
    shared: tuple[str, ...] = ()  # other rows that start from it
    steps: tuple[float, ...] = ()  # of the curve that is drawn, averaged to few points
    values: tuple[float, ...] = ()
    chances: tuple[float, ...] = ()  # one for each step, or none
    seed: int | None = None  # where its row has pretrainings of several
    # drawn by itself, so it is no part of what tells the figure's drawing from another
    probe: ProbeCurve | None = field(default=None, repr=False, metadata=sparse().metadata)
    # a term of the figure that its curve does not have; then it has no numbers
    lacks: str = field(default="", repr=False, metadata=sparse().metadata)
    # the row's loss leaves the figure's task out
    untrained: bool = field(default=False, repr=False, metadata=sparse().metadata)

    @property
    def guesses(self) -> bool:
        """Tell whether the figure ended where guessing is, or short of it."""
        if self.untrained or self.last is None or self.chance is None:
            return False
        return self.last <= self.chance if self.rises else self.last >= self.chance

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values) or len(self.chances) not in (0, len(self.steps)):
            raise ValueError("a curve has a value for every step")


@dataclass(frozen=True)
class Course:
    """The loss of one fine-tuning over its steps, averaged to few points."""

    row: str
    section: str
    fraction: int  # percent
    seed: int
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    fold: int = sparse(0)
    pretrain_seed: int = sparse(0)

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.losses):
            raise ValueError("a curve has a value for every step")


@dataclass(frozen=True)
class ImportedCell:
    """A cell that was not run for its report: its scores are of records elsewhere."""

    row: str
    section: str
    fraction: int  # percent
    fold: int
    pretrain_seed: int
    seed: int
    place: str  # the records, in words


@dataclass(frozen=True)
class Cloud:
    """What one encoder makes of samples of every data set, laid out in two dimensions."""

    title: str
    points: tuple[tuple[float, float], ...]  # -1 to 1
    group: tuple[int, ...]  # of each point, index into ``groups``
    groups: tuple[str, ...]  # data sets
    how: str = "t-SNE"
    std: float | None = None  # of the embeddings themselves
    rank: float | None = None
    rows: tuple[str, ...] = ()  # whose encoder it is; none of a network beside the rows

    def __post_init__(self) -> None:
        if not self.points or len(self.points) != len(self.group):
            raise ValueError("a cloud has a group for each sample")
        if min(self.group) < 0 or max(self.group) >= len(self.groups):
            raise ValueError("a cloud names no such group")


@dataclass(frozen=True, eq=False)
class Panel:
    """One prediction on one slice, ready to draw.

    ``image``, ``reference`` and ``prediction`` are 2-D uint8 of one shape, first axis downwards,
    first row on top. ``aspect`` is a pixel's height over its width in mm.
    """

    row: str
    section: str
    case: str
    title: str  # of the row, and what else tells its predictions apart
    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    aspect: float = 1.0
    view: int = -1  # of the layout, counted from 0; the report's own where it has none of panels


@dataclass(frozen=True)
class Registered:
    """A text of a protocol, and how far its run was when the text was first used."""

    time: str  # UTC, ISO 8601
    content: str  # digest of what the file says at every scale, its settings spelled out
    scale: str
    overrides: tuple[str, ...]  # of --set
    commit: str  # of bench, empty where it is not known
    scored: int  # cells that had scores then
    cells: int  # of the protocol then
    parts: dict[str, str] = field(default_factory=dict)  # key: digest of what it says at this scale


# columns of one length: step, loss, its terms; None where there was no number
Curves = dict[str, tuple[int | float | None, ...]]


@dataclass(frozen=True, kw_only=True)
class Supplement:
    """What ``records/<name>.json`` holds: all that a page needs and no row says."""

    origin: Origin | None = None  # the protocol file
    sources: dict[str, Source] = field(default_factory=dict)  # "method/voco", "dataset/btcv"
    titles: dict[str, str] = field(default_factory=dict)  # method id: title
    costs: tuple[Cost, ...] = ()
    failures: tuple[Failure, ...] = ()
    leaks: tuple[Leak, ...] = ()
    datasets: tuple[DatasetInfo, ...] = ()  # as they were on the machine that ran
    pretrainings: tuple[Pretraining, ...] = ()
    receipts: dict[str, str] = field(default_factory=dict)  # row: what its fine-tuning took over
    # row: kinds of layers its weights lack
    gaps: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # row: which recipes of a grid its runs chose
    choices: dict[str, str] = field(default_factory=dict)
    other_source: tuple[str, ...] = ()  # which finished jobs today's source files did not make
    overrides: tuple[str, ...] = ()  # what --set changed, as typed
    # what the protocol said before its first cell was scored, and each change since
    registered: tuple[Registered, ...] = ()
    curves: dict[str, Curves] = field(default_factory=dict)  # of pretrainings, by row
    pretexts: tuple[Pretext, ...] = ()
    courses: tuple[Course, ...] = ()  # one for each fine-tuning
    taken: tuple[ImportedCell, ...] = ()
    imported: str = ""  # of a copy of records: where they come from, in words
    scorings: dict[str, str] = field(default_factory=dict)  # section: digest of how it is scored
    clouds: tuple[Cloud, ...] = ()
    absent: tuple[str, ...] = ()  # which clouds are left out, and why
    read: tuple[Ingredient, ...] = ()  # of the mixture, in its order
    defaults: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the methods' parameters
    # data set: patient: column: the group
    groups: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    # runs whose predictions are all alike
    constant: tuple[str, ...] = ()
    # section: metric: the best score that one prediction for all its test cases gets
    chance: dict[str, dict[str, float]] = sparse({})
    # what was predicted for a challenge's server, and how to get it
    submissions: tuple[str, ...] = ()
    # the jobs of each row's pretrainings, and the command that writes their weights to a file
    weights: tuple[str, ...] = ()
    oversized: tuple[str, ...] = ()  # crops that are larger than the scans, in words
    provenance: dict[str, str] = field(default_factory=dict)  # commit, versions, device, date

    @property
    def changed(self) -> str:
        """What ``--set`` changed, in words."""
        return "; ".join(f"--set {text}" for text in self.overrides)

    def __post_init__(self) -> None:
        for curve in self.curves.values():
            if "step" not in curve or len(set(map(len, curve.values()))) > 1:
                raise ValueError("a curve has steps, and a number for each")


@dataclass(frozen=True, kw_only=True, eq=False)
class Extras(Supplement):
    """The same with what is looked up where the report is drawn."""

    notes: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    # results/published/*.csv together, read as text or numbers
    published: pd.DataFrame | None = None
    errata: str = ""  # results/published/errata.md
    reference: pd.DataFrame | None = None  # results/reference.csv, likewise
    tracked: pd.DataFrame | None = None  # rows of learning curves, columns of `bench.record.CURVE`
    progress: Progress | None = None  # of a run that is not over: its page alone says so


@dataclass(frozen=True)
class ReportPaths:
    """Where everything was written."""

    markdown: Path
    tex: Path
    csv: Path
    page: Path
    figures: tuple[Path, ...] = ()
    text: str = ""  # the tables for a terminal, footnotes below
