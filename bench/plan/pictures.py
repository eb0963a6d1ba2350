"""The jobs behind the picture of embeddings: what each row's encoder makes of the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bench.data.parts import Entry, Take
from bench.errors import printable
from bench.job import Job
from bench.jobs.embed.spec import EmbedSpec
from bench.jobs.kind import EMBEDDINGS, NetSpec
from bench.plan import mixing
from bench.plan.arm import Arm
from bench.plan.initialisation import Initialisation
from bench.plan.pretrainings import Pretrainings
from bench.protocol import Net, mixture, pretrains
from bench.protocol.sections import Initial
from bench.volumes.files import is_there


@dataclass(frozen=True)
class Samples:
    """What every encoder of one picture is shown."""

    data: tuple[Entry, ...]
    samples: int  # of each data set
    seed: int
    take: Take


class Pictures:
    """Adds to a plan one ``embed`` job for each row of a protocol that asks for the picture."""

    def __init__(self, pretrainings: Pretrainings) -> None:
        self._pretrainings = pretrainings
        self._jobs: dict[tuple[str, str], str] = {}  # protocol, row -> job
        self._panelled: set[str] = set()
        # by protocol: all rows read alike
        self._read: dict[str, tuple[Samples, tuple[str, ...]]] = {}

    def add(self, arm: Arm, initial: Initialisation) -> str | None:
        """Return the job for an arm's row, None where its protocol asks for no picture.

        A row that several folds or data sets expand to several pretrainings shows its first.
        """
        protocol = arm.protocol
        outside = initial.init.startswith(EMBEDDINGS)  # there is no encoder to draw
        if protocol.embeddings is None or protocol.pretrain is None or arm.control or outside:
            return None
        if protocol.name not in self._panelled:
            self._panelled.add(protocol.name)
            self._others(arm)
        key = protocol.name, arm.name
        if key not in self._jobs:
            pretraining = arm.pretrained if pretrains(arm.protocol, arm.row) else None
            self._jobs[key] = self._job(
                arm, pretraining or protocol.networks[arm.row.network], initial
            )
        return self._jobs[key]

    def _others(self, arm: Arm) -> None:
        """Add the panels of networks that no row has; say of those whose file is not here that they lack."""
        protocol, plan = arm.protocol, self._pretrainings.plan
        jobs, absent = (
            plan.beside.setdefault(protocol.name, {}),
            plan.absent.setdefault(protocol.name, []),
        )
        for name, other in (protocol.embeddings.beside if protocol.embeddings else {}).items():
            title, file = other.title or name, Initial.of(other.init).file
            if is_there(protocol.folder / file):
                initial = plan.files.start(
                    protocol.folder, other.init, self._pretrainings.cohorts.contents
                )
                jobs[title] = self._job(arm, protocol.networks[other.network], initial)
            else:
                absent.append(
                    f"The panel of {title} is left out: there is no file {printable(file)}."
                )

    def _job(self, arm: Arm, net: Net, initial: Initialisation) -> str:
        protocol, pretrainings = arm.protocol, self._pretrainings
        if protocol.name not in self._read:
            self._read[protocol.name] = self._samples(arm)
        samples, prepared = self._read[protocol.name]
        network = NetSpec.of(net, pretrainings.channels(prepared, net.crop))
        spec = EmbedSpec(network=network, init=initial.init, given=initial.given, **vars(samples))
        needs = (*prepared, *([initial.pretrain] if initial.pretrain else []))
        job = pretrainings.plan.add(Job(spec, needs))
        pretrainings.plan.threads[job] = protocol.threads
        return job

    def _samples(self, arm: Arm) -> tuple[Samples, tuple[str, ...]]:
        """Return what a spec says of the samples, and the preparations that they are read from."""
        section, wanted = arm.protocol.pretrain, arm.protocol.embeddings
        assert section is not None and wanted is not None
        parts = mixing.mixed(self._pretrainings.cohorts, arm, section, labels=False)
        prepare = partial(self._pretrainings.prepare, arm.protocol)
        prepared = tuple(prepare(m.dataset, m.recipe) for m in mixture.parts(section))
        data = tuple(part.data for part in parts)
        return Samples(data, wanted.samples, wanted.seed, mixing.overall(section)), prepared
