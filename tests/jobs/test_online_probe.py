"""The online probe of a pretraining: what it reads, what it leaves, that it changes nothing."""

from functools import partial
from itertools import count

import blobs
import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import NET, a_job
from safetensors.torch import load_file

from bench import distributed
from bench.data import split
from bench.data.parts import Entry
from bench.data.prepared import Prepared
from bench.errors import BenchError
from bench.jobs import probing
from bench.jobs.inputs import probed
from bench.jobs.pretrain.online_probe import OnlineProbe, Patients, untouched
from bench.jobs.pretrain.run import Pretext, built
from bench.jobs.pretrain.spec import Probing
from bench.jobs.watch import Watch
from bench.probes.features import VoxelFeatures
from bench.probes.ridge import Sums, balanced, fitted
from bench.protocol.sections import Optimiser, Training
from bench.random import numpy_rng
from bench.train.loop import Run, fit
from bench.train.samples import Samples, batches

CROP = [32, 32, 16]  # one window has a whole scan
STEPS, EVERY = 5, 2
LOOKS = [0, 2, 4, 5]


def entry(name):
    return {
        "dataset": name,
        "part": "train",
        "split": "even",
        "fold": 0,
        "split_hash": None,
        "labelled": True,
    }


def pretrain(jobs, probe=True, network="genesis_unet3d", **changes):
    """Return a pretraining on all cases, with the probe or without it; its network has batch norm."""
    spec = {
        "method": {"name": "simclr3d", "version": 1, "params": {"hidden": 8, "out": 8}},
        "network": {**NET, "network": network, "crop": CROP},
        "data": [{"dataset": jobs.name, "part": "all"}],
        "pretrain": {"steps": STEPS, "snapshots": [3], "optimiser": {"lr": 1e-2}},
    }
    task = jobs.dataset.task
    spec["probe"] = {
        "data": [entry(jobs.name)],
        "task": task,
        "classes": 1 + max(jobs.dataset.labels),
        "patients": 5,
        "every": EVERY,
        **changes,
    }
    if not probe:
        del spec["probe"]
    return a_job("pretrain", spec, (jobs.prepare().id,) * (1 + probe))


def weights(folder):
    return {f.name: load_file(f) for f in sorted(folder.glob("*.safetensors"))}


def assert_equal(one, other):
    assert one.keys() == other.keys() and len(one) == 2  # the last, and the snapshot
    for name, tensors in one.items():
        assert tensors.keys() == other[name].keys()
        assert all(torch.equal(tensors[key], other[name][key]) for key in tensors)


@pytest.fixture(scope="module")
def plain(made):
    """The folder of a pretraining without the probe."""
    return made.done(pretrain(made, probe=False))


@pytest.fixture(scope="module")
def looked(made):
    """The folder of the same with it, and the cases that were read for it, in order."""
    read, real = list[str](), probing.Labels.products
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            probing.Labels, "products", lambda self, case: read.append(case) or real(self, case)
        )
        scored, label = list[str](), Prepared.label
        patch.setattr(
            Prepared, "label", lambda self, case: scored.append(case) or label(self, case)
        )
        return made.done(pretrain(made)), read, scored


def test_weights_are_those_without_it_to_the_bit_and_its_curve_is_kept(made, plain, looked):
    folder, *_ = looked
    assert_equal(weights(folder), weights(plain))
    curves = [pd.read_csv(f / "curve.csv") for f in (folder, plain)]
    pd.testing.assert_frame_equal(*curves)
    seen = pd.read_csv(folder / "probe.csv")
    assert list(seen) == ["step", "dice"] and seen["step"].tolist() == LOOKS
    assert seen["dice"].between(0.05, 1).all() and seen["dice"].nunique() > 1
    told = made.store.manifest(folder.name)["online_probe"]
    assert told == {"dataset": made.name, "metric": "dice", "patients": 5}
    assert "online_probe" not in made.store.manifest(plain.name)
    assert not (plain / "probe.csv").exists()


def test_a_pretraining_that_was_stopped_goes_on_to_the_same_weights_and_looks(
    made, plain, looked, tmp_path
):
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, tmp_path)
        jobs = blobs.Jobs(tmp_path / "out", made.name, made.root)
        jobs.done(jobs.prepare())
        job, asked = pretrain(jobs), count()
        outcome = jobs.do(job, stopping=lambda: next(asked) >= 2)
        assert outcome.state == "stopped"
        folder = jobs.done(job)
    assert_equal(weights(folder), weights(plain))
    assert (folder / "probe.csv").read_text() == (looked[0] / "probe.csv").read_text()


def test_only_patients_who_train_are_read_each_on_one_side(made, looked):
    prepared = Prepared(made.store.jobs / made.prepare().id)
    patient = {case.id: case.patient for case in prepared.cases()}
    (fold,) = split.folds(made.dataset, made.name, prepared.cases(), "even")
    _, read, labels = looked
    of_fit, of_all = ({patient[case] for case in cases} for cases in (read, labels))
    assert len(of_fit) == 3 and len(of_all) == 5 and of_all <= set(fold.train)
    assert not of_all & {*fold.val, *fold.test}


def test_of_several_folds_nobody_is_read_who_is_held_out_in_one(made):
    prepared = Prepared(made.store.jobs / made.prepare().id)
    entries = [{**entry(made.name), "split": "cv5", "fold": fold} for fold in (0, 1, 2)]
    data = [Entry(**fields) for fields in entries]
    fitted, scored = probed(prepared, data, 7, str(made.root))
    folds = split.folds(made.dataset, made.name, prepared.cases(), "cv5")[:3]
    tested = {patient for fold in folds for patient in fold.test}
    patient = {case.id: case.patient for case in prepared.cases()}
    of_fit, of_score = {patient[c] for cases in fitted for c in cases}, {patient[c] for c in scored}
    assert (len(of_fit), len(of_score)) == (4, 3)
    assert not of_fit & of_score and not (of_fit | of_score) & tested
    with pytest.raises(BenchError, match=r"20 patients are needed"):
        probed(prepared, data, 20, str(made.root))


def test_its_last_number_is_that_of_the_same_weights_by_hand(made, looked):
    folder, read, labels = looked
    job = pretrain(made)
    network, _ = built(job.spec)
    tensors = weights(folder)["weights.safetensors"]
    encoder = {k.removeprefix("encoder."): v for k, v in tensors.items() if "encoder." in k}
    network.encoder.load_state_dict(encoder)
    features = VoxelFeatures(network.encoder.eval(), None)
    prepared = Prepared(made.store.jobs / made.prepare().id)
    fit_cases = list(dict.fromkeys(read))

    def voxels(case):
        """Return the features (n, d) and the labels (n,) of a scan in the middle of one window."""
        volume = prepared.volume(case)
        start = tuple((m - n) // 2 for n, m in zip(CROP, volume.shape, strict=True))
        image = torch.from_numpy(volume.crop(start, tuple(CROP)))[None]
        box = tuple(slice(-a, -a + n) for a, n in zip(start, volume.shape, strict=True))
        with torch.no_grad():
            x = features(image)[0][:, *box]
        return x.flatten(1).T.double().numpy(), np.asarray(prepared.label(case)).ravel()

    known = [voxels(case) for case in fit_cases]
    share = balanced(np.bincount(np.concatenate([y for _, y in known]), minlength=2))
    sums = [Sums.of(x, np.eye(2)[y], share[y]) for x, y in known]
    linear = fitted(sums).linear
    scores = []
    for case in sorted(set(labels) - set(fit_cases)):
        x, y = voxels(case)
        predicted = linear(x).argmax(1)
        scores.append(2 * np.sum((predicted == 1) & (y == 1)) / (predicted.sum() + y.sum()))
    assert len(scores) == 2
    last = pd.read_csv(folder / "probe.csv")["dice"].iloc[-1]
    assert last == pytest.approx(np.mean(scores), abs=1e-5)


def test_of_classes_it_is_an_accuracy(made, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, tmp_path)
        jobs = blobs.Jobs(tmp_path / "out", "graded_blobs", made.root)
        jobs.done(jobs.prepare())
        folder = jobs.done(pretrain(jobs, network="unet3d", patients=9, every=5))
    seen = pd.read_csv(folder / "probe.csv")
    assert list(seen) == ["step", "accuracy"] and seen["step"].tolist() == [0, 5]
    assert set((seen["accuracy"] * 4).round(3)) <= {0, 1, 2, 3, 4}


def test_one_class_alone_ends_the_job_before_its_first_step(made):
    outcome = made.do(pretrain(made, network="unet3d", patients=2, every=1, ignore=1))
    assert outcome.state == "failed" and "have the same class; use more" in outcome.reason


def test_a_look_leaves_modes_statistics_and_random_state_as_they_were():
    frozen = torch.nn.BatchNorm1d(2).eval()
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(2), frozen, torch.nn.Dropout())
    torch.manual_seed(3)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.get_rng_state()
    with untouched(module):
        assert not any(m.training for m in module.modules())
        module[0].train()(torch.randn(4, 2))
    assert [m.training for m in module] == [True, False, True] and module.training
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def together(folder, probe):
    """Train in each of the processes of a training; return rows of the probe and all weights."""
    prepared = Prepared(folder)
    spec = a_job(
        "pretrain",
        {
            "method": {"name": "simclr3d", "version": 1, "params": {"hidden": 8, "out": 8}},
            "network": {**NET, "network": "genesis_unet3d"},
        },
    ).spec
    _, method = built(spec)
    cases = [case.id for case in prepared.cases()]
    probing = Probing(data=(), task="segmentation", classes=2, patients=4, every=2)
    patients = Patients(prepared, [[case] for case in cases[:2]], cases[2:4])
    crop = spec.network.crop
    looks = OnlineProbe(probing, lambda: patients, method.encoder, crop, 3) if probe else None

    def read_sample(case, step, number):
        rng = numpy_rng(0, "read", step, number)
        volume = prepared.volume(cases[case])
        return {**method.params.read(volume, crop, rng), "origin": np.array(0)}

    training = Training(steps=3, batch=4, optimiser=Optimiser(lr=1e-2))
    samples = Samples(6, 4, 0, read_sample)
    watch = Watch(method.encoder, partial(torch.ones, 2, 1, *crop), 3)
    objective = Pretext(method, {}, None, watch, looks)
    fit(objective, lambda start: batches(samples, 4, start, 3), Run(training, 0, folder / "none"))
    state = {k: v.numpy() for k, v in method.state_dict().items()}
    return distributed.rank(), looks.rows if looks else [], state


def test_of_two_processes_the_first_looks_and_both_train_as_without(made, pair):
    folder = made.store.jobs / made.prepare().id
    with_it, without = (pair(together, folder, probe) for probe in (True, False))
    for (rank, rows, state), (_, _, same) in zip(with_it, without, strict=True):
        assert [row["step"] for row in rows] == ([0, 2, 3] if rank == 0 else [])
        assert all(np.array_equal(state[key], same[key]) for key in same)
