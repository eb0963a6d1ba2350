"""A 2D network on volumes: trained on slices, its predictions stacked, scored per volume."""

import blobs
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bench.data.cache import Pack
from bench.data.prepared import Prepared
from bench.data.reader import Volume
from bench.jobs import finetuning
from bench.jobs.context import Context
from bench.jobs.predict import slabs
from bench.jobs.scoring import path
from bench.jobs.supervised import Supervised, Task
from bench.nets import transfer
from bench.protocol import Augment
from bench.protocol.sections import Windows
from bench.train.samples import stack

CROP = (16, 16, 1)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Jobs of mapped blobs, prepared."""
    folder = tmp_path_factory.mktemp("mapped")
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, folder)
        made = blobs.Jobs(folder / "out", "outlined_blobs", blobs.write(folder / "data", 24))
        made.done(made.prepare())
        yield made


def reader(jobs, network="unet2d", crop=CROP, **recipe):
    job = jobs.finetune(network, crop, steps=1, **recipe)
    context = Context(jobs.store, None, job, None, None)
    cases = [case.id for case in Prepared(context.input(0)).cases()]
    return finetuning._MapReader(context, cases), len(cases)


def test_it_trains_on_slices_and_predicts_whole_volumes(jobs):
    tuned = jobs.finetune("unet2d", CROP, steps=120, foreground=0.5)
    tensors, manifest = transfer.read(jobs.done(tuned) / "last.safetensors")
    assert manifest.crop == CROP and tensors["decoder.final_conv.weight"].ndim == 4
    job, scoring = jobs.evaluate(tuned), jobs.scoring("dice")
    folder = jobs.done(job, scoring)
    predicted = Pack(folder, "prediction")
    assert [predicted[case].shape for case in predicted] == [blobs.SHAPE] * len(list(predicted))
    rows = pd.read_parquet(path(jobs.store, job.id, scoring))
    assert rows["case"].tolist() == list(predicted) and len(rows) >= 3  # one per volume, not per slice
    assert rows["value"].mean() > 0.8, rows["value"]


def whole(net, image, inference):
    return np.concatenate([s.copy() for s in slabs(net, Volume(image), inference)], -1)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_windows_of_one_slice_make_up_the_volume(overlap):
    class Pointwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.ones(1)), set()

        def forward(self, x):
            self.seen.add(tuple(x.shape[2:]))
            return torch.cat([-x * self.weight, x * self.weight], 1)

    image = np.random.default_rng(0).normal(size=(1, 20, 9, 5)).astype(np.float32)
    net = Pointwise()
    inference = Windows(crop=(8, 8, 1), overlap=overlap, batch=3)
    np.testing.assert_allclose(whole(net, image, inference)[1], image[0], atol=1e-5)
    assert net.seen == {(8, 8, 1)}


def test_each_slice_is_predicted_by_itself(jobs):
    tuned = jobs.finetune("unet2d", CROP, steps=2)
    tensors, _ = transfer.read(jobs.done(tuned) / "last.safetensors")
    net = finetuning.nets.network("unet2d", "tiny", 1, 2, CROP).eval()
    net.load_state_dict(tensors)
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    inference = Windows(crop=CROP, batch=2)
    with torch.no_grad():
        alone = [net(torch.from_numpy(image[None, ..., z])) for z in range(3)]
    expected = torch.stack(alone, -1)[0].numpy()
    np.testing.assert_allclose(whole(net, image, inference), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("network", "crop"), [("unet2d", CROP), ("unet3d", (16, 16, 16))])
def test_what_is_read_is_moved_together_with_its_label(network, crop, jobs):
    read, cases = reader(jobs, network, crop)
    batch = stack([read(n % cases, 0, n) for n in range(12)])
    assert batch["image"].shape == (12, 1, *crop) and batch["label"].shape == (12, *crop)
    seen = []

    def loss(logits, label):
        seen.append((logits, label))
        return logits.sum()

    objective = Supervised(nn.Identity(), Task(loss, Augment(flip=0.5, rot90=0.5), crop), None)
    objective(batch, torch.Generator().manual_seed(0))
    ((image, label),) = seen
    assert not torch.equal(label, batch["label"]) and (label > 0).any((1, 2, 3)).sum() > 6
    assert ((image[:, 0] > 0.55) == (label > 0)).float().mean() > 0.98  # noise alone makes a difference


def test_slices_are_drawn_along_z_and_foreground_centres_a_labelled_voxel(jobs):
    read, cases = reader(jobs, foreground=1.0)
    found = [read(n % cases, 3, n)["label"] for n in range(40)]
    assert all(label.any() for label in found)
    rng = np.random.default_rng(0)
    drawn = {finetuning._centred(np.array([[12, 12, z]]), (0, 0, 0), CROP, blobs.SHAPE, rng) for z in (0, 5)}
    assert drawn == {(4, 4, 0), (4, 4, 5)}
