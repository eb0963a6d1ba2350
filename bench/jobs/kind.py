"""What every kind of job says of itself: what runs it, what it costs, what is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import registry
from bench.job import Job, Spec
from bench.nets import catalog
from bench.nets.public_weights import Stated
from bench.protocol.sections import Initial, Net
from bench.ranges import Triple
from bench.typed import sparse

if TYPE_CHECKING:
    from bench.jobs.context import Context

MAPS = "segmentation"
EMBEDDINGS = "embeddings:"  # begins an ``init``: the digest of a folder of features follows
# Seconds of one core on a quiet machine, measured here on small jobs.
START = 1.5  # a job's imports, reading, writing, for those that train or predict
# Of one GPU, assumed for forecasts; not measured by this project.
TERAFLOPS_PER_GPU = 20.0  # of a data-centre card on these networks
# seconds of a step, however small: a thousand kernels to launch, and the optimiser's
GPU_STEP = 0.02
# seconds for the loader's processes to read and cut a sample, while the GPU computes
GPU_SAMPLE = 0.002
GIGAFLOPS_PER_THREAD = 25.0  # one CPU core on these networks in fp32, measured; see docs/speed.md


def embedding(folder: Path, case: str, voxels: bool) -> Path | None:
    """Return the file with the features of a case, None where there is none.

    Args:
        folder: of a file for each case.
        case: id.
        voxels: is it a map of all voxels (``<case>.b2nd``, else ``.npy``), or a vector (``<case>.npy``)?
    """
    paths = (folder / f"{case}{suffix}" for suffix in ((".b2nd", ".npy") if voxels else (".npy",)))
    return next((path for path in paths if path.is_file()), None)


@dataclass(frozen=True)
class Sides:
    """How much a guard compares with how much."""

    read: int  # cases of the pretraining; 0: not known
    channels: int  # that these have, all together
    tests: int  # test cases
    test_channels: int


@dataclass(frozen=True)
class PlanContext:
    """What a job's cost and its refusals look at besides its own spec."""

    jobs: Mapping[str, Job]  # of its plan, by id
    sizes: Mapping[str, int] = field(default_factory=dict)  # cases of a job; 0: not known
    sides: Mapping[str, Sides] = field(default_factory=dict)  # of a guard
    threads: Mapping[str, int] = field(default_factory=dict)
    roots: Mapping[str, str] = field(default_factory=dict)  # data set -> folder
    processes: int = 1  # that share a pretraining
    # sizes of the prepared volumes that a pretraining reads, at most; by ``volumes_key``
    volumes: Mapping[str, Collection[Triple]] = field(default_factory=dict)

    def speed(self, job: Job) -> float:
        """Return floating point operations a second of the threads that a job has."""
        return GIGAFLOPS_PER_THREAD * 1e9 * self.threads.get(job.id, 1)


class Kind(Spec):
    """A kind of job. Its spec's fields are what its result depends on, and nothing else."""

    gpu: ClassVar[bool] = True  # does it use one where there is one?
    by_cases: ClassVar[bool] = False  # do several processes take its cases, one at a time?
    joined: ClassVar[bool] = False  # may several processes train it together?

    @classmethod
    def work(cls) -> str:
        """Return the module beside the spec: its ``run`` does such a job, its imports are its source."""
        return f"{cls.__module__.rpartition('.')[0]}.run"

    def run(self, context: Context[Any]) -> None:
        """Do it."""
        import_module(self.work()).run(context)

    def refuse(self, job: Job, plan: PlanContext) -> None:
        """Refuse, before anything runs, settings that cannot work together.

        Raises:
            BenchError: says which.
        """

    def rehearse(self, weights: Path | None, stated: Sequence[Stated] = ()) -> str:
        """Build what is to be trained, and load the file of weights that it starts from.

        ``rehearse`` of the module ``work`` does it, where there is anything to rehearse.

        Returns:
            A line on what the file leaves open, else nothing.

        Raises:
            BenchError: it cannot be done.
        """
        if weights is None and not self.builds:
            return ""
        line: str = import_module(self.work()).rehearse(self, weights, stated)
        return line

    @property
    def builds(self) -> bool:
        """Tell whether ``rehearse`` has anything to build where no file of weights is loaded."""
        return False

    def likeness(self, job: Job, plan: PlanContext) -> list[Any]:
        """Return what two jobs of this kind share whose seconds per unit of work are comparable."""
        return []

    def units(self, job: Job, plan: PlanContext) -> float | None:
        """Return how much work it is, in units that its likeness compares; None where nobody knows."""
        return 1.0

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """Return its seconds on a quiet machine, None where its size is not known."""
        return None

    def gpu_seconds(self) -> float | None:
        """Return the seconds of its training on one GPU as assumed above, None where they are not known."""
        return 0.0

    def operations(self) -> float | None:
        """Return the floating point operations of its training, None where they are not known."""
        return 0.0


@dataclass(frozen=True)
class Given:
    """What a row says of the file of weights that it starts from."""

    preset: str = sparse("")  # where the tensors' names leave it open
    lacks: tuple[str, ...] = sparse(())  # kinds of layers, or stages, that may be missing
    own_head: bool = sparse(False)  # the output layer is the file's, with its classes

    @classmethod
    def of(cls, init: Initial) -> Given:
        """Return it as a job's spec has it."""
        return cls(init.preset, tuple(sorted(init.lacks)), bool(init.labels))


@dataclass(frozen=True, kw_only=True)
class NetSpec(Net):
    """One network at one size, for as many channels as its data has."""

    in_channels: int
    version: int
    out_channels: int | None = sparse()  # of a task's
    hidden: int = sparse(0)  # units of the layer before the last, of a classification
    source: str = sparse("")  # digest of what a network from outside says

    @classmethod
    def of(cls, net: Net, channels: int) -> NetSpec:
        """Return a protocol's network for data of so many channels.

        Raises:
            BenchError: the network cannot read such a crop.
        """
        catalog.check_crop(net.network, net.preset, net.crop)
        size = (net.network, net.preset, net.crop)
        version = catalog.network_facts(net.network).version
        source = registry.source("network", net.network)
        return cls(*size, in_channels=channels, version=version, source=source)

    def flops(self, with_decoder: bool) -> float:
        """Return the operations of one voxel's way through the network, or through its encoder alone."""
        size = catalog.preset(self.network, self.preset)
        return size.flops_per_voxel if with_decoder else size.encoder_flops_per_voxel
