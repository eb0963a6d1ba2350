"""Two data sets that only tests know, whose class or label map one sees, and their jobs by hand."""

from pathlib import Path

import nibabel as nib
import numpy as np
from by_hand import NET, a_job

from bench import registry
from bench.data.parts import Labelled
from bench.data.roots import Contents, Roots
from bench.job import Job
from bench.jobs.context import RunOptions
from bench.jobs.scoring import Scoring
from bench.plan.cohorts import Cohorts
from bench.protocol import Augment, Inference, Optimiser
from bench.protocol.sections import Tuning
from bench.runtime.execute import execute
from bench.store import Store
from bench.typed import plain

ADAPTER = """
from bench.dataset import Case, Dataset, Recipe
from bench.source import Source


class Blobs(Dataset):
    title, modality, licence = "Blobs", "CT", "none"
    source = Source("Nobody", "https://example.org", "")
    channels = ("CT",)
    task = "{task}"
    labels = {labels}
    recipes = {{"default": Recipe(scale="minmax")}}
    submission = "blob_{{case}}.nii.gz"

    def cases(self, root):
        found = sorted(root.glob("case*_?.nii.gz"))
        label = {label}
        return [Case(p.name[:-7], p.name[:7], (p,), label(p)) for p in found]
"""
CLASSES = {
    "task": "classification",
    "labels": "{0: 'low', 1: 'middle', 2: 'high'}",
    "label": "lambda p: int(p.name[8])",
}
MAPS = {
    "task": "segmentation",
    "labels": "{1: 'blob'}",
    "label": "lambda p: next(p.parent.glob('map_' + p.name), None)",
}
ADAPTERS = {"graded_blobs": CLASSES, "outlined_blobs": MAPS}
SHAPE = (24, 20, 6)
ALL = {"split": "even", "fold": 0, "split_hash": None}


def register(monkeypatch, folder):
    """Make the two data sets known to this process, and no other."""
    package = folder / "plugins" / "blob_plugins"
    package.mkdir(parents=True)
    for name, words in ADAPTERS.items():
        (package / f"{name}.py").write_text(ADAPTER.format(**words))
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setitem(registry.ROOMS, "dataset", ("blob_plugins", "bench.dataset", "Dataset"))


def scan(number):
    """Return an image, its map and its class: how large the bright box is."""
    rng = np.random.default_rng(number)
    image, label = rng.normal(0, 0.1, SHAPE), np.zeros(SHAPE, np.uint8)
    size = (2, 5, 10)[number % 3]
    x, y = rng.integers(4, 8, 2)
    place = (slice(x, x + size), slice(y, y + size))
    image[place] += 1
    label[place] = 1
    return image.astype(np.float32), label, number % 3


def write(folder, cases):
    """Write scans of both data sets, named after their class."""
    folder.mkdir()
    for number in range(cases):
        image, label, kind = scan(number)
        for prefix, array in {"": image, "map_": label}.items():
            file = folder / f"{prefix}case{number:03d}_{kind}.nii.gz"
            nib.save(nib.Nifti1Image(array, np.eye(4)), file)
    return folder


class Jobs:
    """Jobs of one data set, one after the other, in one output folder."""

    def __init__(self, out, name, root):
        self.store, self.name, self.root = Store.open(out), name, root
        self.dataset = registry.load("dataset", name)
        roots = Roots(None, {name: Path(root)})
        self._prepare = Cohorts(roots, Contents(None), need_data=True).prepare(name, "default", {})

    def prepare(self):
        return Job(self._prepare)

    @property
    def labelled(self):
        """What a fine-tuning reads of every training case."""
        return Labelled(**self._data(fraction=100, n_train=None))

    def _data(self, **more):
        return {"dataset": self.name, "task": self.dataset.task, **ALL, **more}

    def finetune(self, network, crop, needs=(), **recipe):
        """Return a fine-tuning on every training case; ``recipe`` changes what ``Finetune`` says."""
        said = {
            "batch": 6,
            "optimiser": Optimiser(lr=1e-3),
            "augment": Augment(flip=0.5, rot90=0.5),
            "loss": "cross_entropy" if self.dataset.task == "classification" else "dice_ce",
        }
        inference = {"inference": plain(Inference(overlap=0.25))}
        net = {**NET, "network": network, "crop": list(crop)}
        spec = {
            "network": {**net, "out_channels": max(self.dataset.labels) + 1},
            "init": f"job:{needs[0].id}" if needs else "random",
            "data": self._data(fraction=100, n_train=None),
            "finetune": {**plain(Tuning(**{**said, **recipe})), **inference},
            "seed": 0,
        }
        return a_job("finetune", spec, (self.prepare().id, *(n.id for n in needs)))

    def evaluate(self, tuned, weights="last", overlap=0.25, **changes):
        crop = tuned.spec.network.crop
        spec = {
            "data": self._data(part="test"),
            "weights": weights,
            "inference": {"overlap": overlap, "batch": 4, "blend": "gaussian", "crop": crop},
            **changes,
        }
        return a_job("evaluate", spec, (tuned.id, self.prepare().id))

    def scoring(self, *metrics):
        labels = {str(k): v for k, v in self.dataset.labels.items()}
        return Scoring(self.dataset.task, metrics, "medpy", "default", labels, {})

    def describe(self, job):
        self.store.write_spec(job.id, {"job": job.plain()})
        return job

    def options(self, *scorings):
        return RunOptions(roots={self.name: str(self.root)}, scoring=scorings, every=0.0)

    def do(self, job, *scorings, stopping=lambda: False):
        """Run one job and return how it ended."""
        self.describe(job)
        return execute(str(self.store.root), job.id, self.options(*scorings), stopping)

    def done(self, job, *scorings):
        """Run one job, which must work, and return its folder."""
        outcome = self.do(job, *scorings)
        assert outcome.state == "done", outcome.reason
        return self.store.jobs / job.id
