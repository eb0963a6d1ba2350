"""Which crops and slices fine-tuning reads, of whose scans, and who validates; weights of other crops."""

import hashlib
import shutil
import types
from dataclasses import replace

import blobs
import nibabel as nib
import numpy as np
import pytest
import torch
from by_hand import a_job, altered
from small_prepared import write_prepared
from torch import nn

from bench import nets
from bench.data import split
from bench.data.cache import Pack
from bench.data.prepared import Prepared
from bench.errors import BenchError
from bench.jobs import inputs
from bench.jobs.context import Context, RunOptions
from bench.jobs.finetune import run as finetuning
from bench.jobs.finetune.supervised import LossConfig, Supervised
from bench.jobs.scoring import path
from bench.nets import transfer
from bench.protocol import Augment, Optimiser
from bench.record import SCORES, read_rows
from bench.train.samples import Samples, batches, stack

CROP, SLICE = (16, 16, 16), (16, 16, 1)
SHAPE = (48, 40, 36)
BLOCK = (slice(4, 12), slice(20, 28), slice(10, 18))  # class 1, large
DOT = (slice(40, 42), slice(6, 8), slice(30, 32))  # class 2, small
AIR = 24  # from here on along x the scan has its lowest value
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[BLOCK], LABEL[DOT] = 1, 2


@pytest.fixture(scope="module")
def organs(tmp_path_factory):
    """One scan with a large class and a small one, half of it air; and one that has no label at all."""
    folder = tmp_path_factory.mktemp("organs")
    label, image = LABEL, np.full(SHAPE, 100, np.int16)
    image[AIR:] = 0
    places = np.argwhere(label > 0)
    classes = np.column_stack([places, label[tuple(places.T)]])
    classes = classes[np.argsort(classes[:, 3], kind="stable")].astype(np.int16)
    full = {"image": image[None], "label": label, "native": label}
    full |= {"foreground": places.astype(np.int16), "classes": classes}
    empty = {"image": image[None], "label": np.zeros_like(label), "native": np.zeros_like(label)}
    write_prepared(folder, {"full": full, "empty": empty})
    return folder


def reader(folder, case="full", crop=CROP, **recipe):
    job = altered(
        a_job("finetune"), network={"crop": list(crop)}, finetune={"foreground": 0.0, **recipe}
    )
    context = types.SimpleNamespace(spec=job.spec, input=lambda index: folder)
    return finetuning._MapReader(context, [case])


def centres(read, batch, steps=60):
    """Return the label of the voxel that each crop is to be centred on, by step and place in the batch.

    -1 where it is to lie anywhere, 9 where the voxel is air.
    """
    found, real = [], finetuning._centred

    def centred(voxels, start, crop, shape, rng):
        if voxels is None or not len(voxels):
            found.append(-1)
        else:
            voxel = tuple(voxels[rng.integers(len(voxels))])
            found.append(9 if voxel[0] >= AIR and not LABEL[voxel] else LABEL[voxel])
        return real(voxels, start, crop, shape, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "_centred", centred)
        for step in range(steps):
            for sample in range(batch):
                read(0, step, sample)
    return np.array(found, int).reshape(steps, batch)


# Which crops


@pytest.mark.parametrize(
    ("share", "batch", "last"), [(0.5, 2, 1), (0.33, 3, 1), (0.75, 4, 3), (1.0, 2, 2), (0.0, 2, 0)]
)
def test_exactly_the_last_of_each_batch_are_centred_on_a_label(organs, share, batch, last):
    found = centres(reader(organs, foreground=share, exact=True, batch=batch), batch)
    assert (found[:, batch - last :] > 0).all() and (found[:, : batch - last] == -1).all()


def test_by_chance_the_share_holds_over_many(organs):
    found = centres(reader(organs, foreground=0.75), 4, 100)
    assert 0.68 < (found > 0).mean() < 0.82 and len(set((found > 0).sum(1))) > 2


def test_balanced_centres_meet_small_classes_as_often_as_large(organs):
    by_size = centres(reader(organs, foreground=1.0), 4)
    alike = centres(reader(organs, foreground=1.0, balanced=True), 4)
    assert set(np.unique(alike)) == {1, 2} == set(np.unique(by_size)) | {2}
    assert (by_size == 2).mean() < 0.06 and 0.4 < (alike == 2).mean() < 0.6


def test_other_crops_are_centred_on_background_that_is_no_air(organs):
    found = centres(reader(organs, foreground=0.0, negatives="background"), 4)
    assert (found == 0).all()
    found = centres(reader(organs, foreground=0.5, exact=True, negatives="background"), 2)
    assert (found[:, 0] == 0).all() and (found[:, 1] > 0).all()
    assert (centres(reader(organs, foreground=0.0), 4) == -1).all()


def test_crops_of_no_class_are_centred_on_what_somebody_labelled(tmp_path):
    label = np.full(SHAPE, 255, np.uint8)
    label[30:, :20] = 0  # a quarter of the scan
    frames = {"image": label[None].astype(np.int16), "label": label, "native": label}
    write_prepared(tmp_path, {"full": frames})
    job = altered(a_job("finetune"), network={"crop": [1, 1, 1]}, data={"ignore": 255})
    context = types.SimpleNamespace(spec=job.spec, input=lambda index: tmp_path)
    read = finetuning._MapReader(context, ["full"])
    drawn = [int(read(0, step, 0)["label"].item()) for step in range(60)]
    assert drawn.count(0) >= 58


def test_a_crop_has_its_centre_in_its_middle_as_far_as_the_border_allows(organs):
    read = reader(organs, foreground=1.0, exact=True)
    for sample in range(2):
        for step in range(20):
            label = read(0, step, sample)["label"]
            assert label.any()
            if (label == 1).any() and not (label == 2).any():
                assert label[8, 8, 8] == 1  # the block lies far enough from the border


def test_a_scan_without_labels_or_of_air_alone_is_read_anywhere(organs, tmp_path):
    for recipe in ({"foreground": 1.0}, {"foreground": 1.0, "balanced": True, "exact": True}):
        read = reader(organs, "empty", **recipe)
        found = [read(0, step, sample) for step in range(5) for sample in range(2)]
        assert {one["image"].shape for one in found} == {(1, *CROP)}
        assert len({one["image"].tobytes() for one in found}) > 1
        assert not any(one["label"].any() for one in found)
    air, label = np.zeros((1, 20, 20, 20), np.int16), np.zeros((20, 20, 20), np.uint8)
    write_prepared(tmp_path, {"c": {"image": air, "label": label, "native": label}})
    assert reader(tmp_path, "c", negatives="background")(0, 0, 0)["image"].shape == (1, *CROP)


@pytest.mark.parametrize("crop", [(16, 16, 16), (64, 16, 48), (64, 64, 64), SLICE])
@pytest.mark.parametrize("margin", [1.0, 1.4])
def test_crops_larger_than_a_scan_or_with_room_around_them_are_read(organs, crop, margin):
    augment = {"margin": margin, "zoom": 1.0 if margin > 1 else 0.0}
    read = reader(
        organs, crop=crop, foreground=1.0, exact=True, negatives="background", augment=augment
    )
    for sample in range(3):
        found = read(0, 0, sample)
        assert found["image"].shape[1:] == found["label"].shape
        assert all(w >= c for w, c in zip(found["label"].shape, crop, strict=True))
        assert found["label"].any()


def test_settings_of_crops_move_no_others_draws(organs):
    """Rows that share a seed see the same crops, whatever their network."""
    one, two = (reader(organs, foreground=0.5, balanced=b, batch=4) for b in (False, True))
    for step, sample in np.ndindex(8, 4):
        a, b, again = (read(0, step, sample) for read in (one, two, one))
        assert np.array_equal(a["image"], again["image"])
        if not a["label"].any() and not b["label"].any():
            assert np.array_equal(a["image"], b["image"])


# Of whose scans


@pytest.mark.parametrize(("batch", "scans"), [(4, 1), (4, 2), (4, 4), (6, 3), (4, None)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_comes_from_as_many_scans_as_it_says(batch, scans, accumulate):
    def read(case, step, sample):
        return {"at": np.array([case, step, sample])}

    each = batch // (scans or batch)
    drawn = batches(Samples(6, batch, 0, read, each), batch, 0, 12, accumulate=accumulate)
    found = torch.cat([b["at"] for b in drawn]).numpy()
    assert found.shape == (12 * batch, 3)
    steps = [found[found[:, 1] == step] for step in range(12)]
    for rows in steps:
        assert sorted(rows[:, 2]) == list(range(batch))
        runs = rows[np.argsort(rows[:, 2]), 0].reshape(-1, each)
        assert (runs == runs[:, :1]).all()  # neighbours in a batch share a scan
    visited = np.concatenate([rows[np.argsort(rows[:, 2]), 0] for rows in steps])[::each]
    for epoch in range(len(visited) // 6):  # every scan as often as any other
        assert sorted(visited[6 * epoch : 6 * epoch + 6]) == list(range(6))


# Who trains and who validates


@pytest.mark.parametrize("percent", [25, 50, 100])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_held_back_patients_are_the_rows_own_and_do_not_train(made, percent, share, seed):
    prepared = Prepared(made.store.jobs / made.prepare().id)
    data = replace(made.labelled, fraction=percent, holdout=share)
    root = str(made.root)
    fold = inputs.fold_of(prepared, data, root)
    labelled = split.fraction(fold.train, percent, "even", seed, "x")
    train, val = (inputs.labelled(prepared, data, which, root, seed) for which in ("train", "val"))
    patients = [{prepared.patient(c) for c in cases} for cases in (train, val)]
    assert not patients[0] & patients[1] and patients[0] | patients[1] == set(labelled)
    assert len(patients[1]) == max(1, int(share * len(labelled) + 0.5))
    test = inputs.labelled(prepared, data, "test", root, seed)
    assert {prepared.patient(c) for c in test} == set(fold.test)
    with pytest.raises(BenchError, match=r"of 1 training patient\(s\) leaves none to train"):
        inputs.labelled(prepared, replace(data, fraction=5), "train", root, 0)


def held_out(made, share=0.25, **recipe):
    """Return a fine-tuning in which a share of the training patients validates."""
    job = made.finetune("unet2d", SLICE, **recipe)
    return altered(job, data={"holdout": share})


def test_a_run_that_gets_no_better_is_over_early_wherever_it_was_stopped(
    made, monkeypatch, tmp_path
):
    job = held_out(made, steps=20, val_every=0.1, patience=0.2, select="best_val")
    shutil.copytree(made.store.root, tmp_path / "out")
    again = blobs.Jobs(tmp_path / "out", made.name, made.root)
    weights = []
    for jobs in (made, again):
        scores = iter([0.5, 0.6, 0.4, 0.3, 0.9, 0.9])
        judge = lambda *given, scores=scores, **more: next(scores)  # noqa: E731
        monkeypatch.setattr(finetuning, "mean_dice", judge)
        stops = 0
        while jobs is again and jobs.do(job, stopping=lambda: True).state == "stopped":
            stops += 1
        folder = jobs.done(job)
        # looked at 2, 4 (best), 6, 8: four in vain
        record = jobs.store.manifest(job.id)
        assert (record["samples"], record["selected_step"]) == (8 * 6, 4)
        files = {p.stem: transfer.read(p)[0] for p in folder.glob("*.safetensors")}
        assert files.keys() == {"last", "best_val"}
        weights.append(files)
    assert stops == 7
    first, second = weights
    assert not all(torch.equal(first["best_val"][k], v) for k, v in first["last"].items())
    assert all(torch.equal(second[w][k], v) for w in first for k, v in first[w].items())


def test_patience_alone_keeps_the_last_weights(made, monkeypatch):
    scores = iter([0.5, 0.4, 0.3, 0.9, 0.9])
    monkeypatch.setattr(finetuning, "mean_dice", lambda *given, **more: next(scores))
    folder = made.done(held_out(made, steps=10, val_every=0.2, patience=0.2, select="last"))
    assert [p.name for p in folder.glob("*.safetensors")] == ["last.safetensors"]
    assert made.store.manifest(folder.name)["samples"] == 4 * 6


# Regions, and weights of elsewhere


def regional(made, **recipe):
    job = made.finetune("unet2d", SLICE, head="regions", **recipe)
    return altered(job, data={"regions": [[1], [1]], "paint": [[0, 1], [1, 1]]})


@pytest.mark.parametrize("head", ["softmax", "regions"])
def test_voxels_that_nobody_labelled_are_trained_scored_and_predicted_by_nobody(
    jobs, monkeypatch, head
):
    monkeypatch.setattr(jobs.dataset, "ignore", 9)
    for file in sorted(jobs.root.glob("map_*")):
        stored = nib.load(file)
        array = np.asarray(stored.dataobj).copy()
        array[..., 3:] = 9  # half of every scan, and parts of every blob
        nib.save(nib.Nifti1Image(array, stored.affine), file)
    jobs = blobs.Jobs(jobs.root.parent / "anew", jobs.name, jobs.root)  # whose files are these
    made = Prepared(jobs.done(jobs.prepare()))
    for case in made.cases():
        drawn = made.volume(case.id).foreground
        assert set(np.unique(made.native(case.id))) == {0, 1, 255} and len(drawn)
        assert drawn[:, 2].max() < 3
    recipe = {"steps": 30, "foreground": 0.7, "select": "best_val", "val_every": 1.0}
    recipe["optimiser"] = Optimiser(lr=5e-3)
    tuned = altered(jobs.finetune("unet2d", SLICE, head=head, **recipe), data={"ignore": 255})
    if head == "regions":
        regions = {"regions": [[1]], "paint": [[0, 1]]}
        tuned = altered(tuned, data=regions, network={"out_channels": 1})
    scoring = replace(jobs.scoring("dice", "hd95"), ignore=255)
    jobs.done(tuned)
    job = jobs.evaluate(tuned)
    folder = jobs.done(job, scoring)
    found = read_rows(path(jobs.store, job.id, scoring), SCORES)
    (case,) = Pack(folder, "prediction")
    predicted, truth = Pack(folder, "prediction")[case][:], made.native(case)
    labelled = truth != 255
    hit = (predicted == 1) & (truth == 1)
    expected = 2 * hit.sum() / ((predicted[labelled] == 1).sum() + (truth == 1).sum())
    dice = found.loc[found["metric"] == "dice", "value"]
    assert predicted.max() <= 1 and dice.tolist() == pytest.approx([expected])
    assert expected > 0 or head == "regions"  # which learns more slowly
    assert "does not ignore" in tuned.spec.across_batch()  # so accumulate is refused


@pytest.mark.parametrize("head", ["softmax", "regions"])
def test_it_trains_on_slices_and_predicts_whole_volumes_as_label_maps(made, head):
    recipe = {"steps": 60, "foreground": 0.5, "optimiser": Optimiser(lr=3e-3)}
    tuned, paint = regional(made, **recipe), {"paint": [[0, 1], [1, 1]]}
    if head == "softmax":
        tuned, paint = made.finetune("unet2d", SLICE, **recipe), {}
    tensors, manifest = transfer.read(made.done(tuned) / "last.safetensors")
    assert manifest.crop == SLICE and manifest.out_channels == 2
    assert tensors["decoder.final_conv.weight"].ndim == 4
    job, scoring = altered(made.evaluate(tuned), data=paint), made.scoring("dice")
    predicted = Pack(made.done(job, scoring), "prediction")
    assert {predicted[case].shape for case in predicted} == {blobs.SHAPE}
    rows = read_rows(path(made.store, job.id, scoring), SCORES)
    # one per volume, not per slice
    assert rows["case"].tolist() == list(predicted) and len(rows) >= 3
    assert rows["value"].mean() > 0.8, rows["value"]


def test_a_region_head_is_judged_by_the_map_that_it_paints(made, monkeypatch):
    given = []

    def judge(network, prepared, cases, windows, regions, paint, ignore):
        given.append((paint, regions, windows.crop))
        return 0.5

    monkeypatch.setattr(finetuning, "mean_dice", judge)
    folder = made.done(regional(made, steps=2, select="best_val"))
    assert made.store.manifest(folder.name)["labels"] == ["blob", "blob"]  # of no names
    assert given == [(((0, 1), (1, 1)), ((1,), (1,)), SLICE)] * len(given) and given


def test_weights_of_two_dimensions_start_a_network_of_three(made, tmp_path):
    torch.manual_seed(3)
    flat = nets.network("unet2d", "small", 1, 2, (32, 32, 1))
    manifest = transfer.Manifest("unet2d", "small", 1, 0, (32, 32, 1), method="m")
    tensors = {k: v for k, v in flat.state_dict().items() if k.startswith("encoder.")}
    file = tmp_path / "flat.safetensors"
    transfer.save(file, tensors, manifest)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    job = altered(made.finetune("unet3d", CROP), init=f"file:{digest}", network={"preset": "small"})
    run = RunOptions(roots={made.name: str(made.root)}, files={digest: str(file)})
    context = Context(made.store, types.SimpleNamespace(job=job.id), job, run, tmp_path, print)
    deep, _ = finetuning.build(context)
    assert context.facts["method"] == "m" and context.facts["receipt"]["share"] == 1.0
    assert {r["how"] for r in context.facts["receipt"]["reshaped"]} == {"2D to 3D"}
    name = deep.encoder.input_weight
    weight = dict(deep.encoder.named_parameters())[name]
    torch.testing.assert_close(weight.sum(-1), dict(flat.encoder.named_parameters())[name])


# A 2D network on volumes


@pytest.mark.parametrize(("network", "crop"), [("unet2d", SLICE), ("unet3d", CROP)])
def test_what_is_read_is_moved_together_with_its_label(network, crop, made):
    context = Context(made.store, None, made.finetune(network, crop, steps=1), None, None)
    ids = [case.id for case in Prepared(context.input(0)).cases()]
    read, cases = finetuning._MapReader(context, ids), len(ids)
    batch = stack([read(n % cases, 0, n) for n in range(12)])
    assert batch["image"].shape == (12, 1, *crop) and batch["label"].shape == (12, *crop)
    seen = []

    def loss(logits, label):
        seen.append((logits, label))
        return logits.sum()

    config = LossConfig(loss, Augment(flip=0.5, rot90=0.5), crop)
    objective = Supervised(nn.Identity(), config, None)
    objective(batch, torch.Generator().manual_seed(0))
    ((image, label),) = seen
    assert not torch.equal(label, batch["label"]) and (label > 0).any((1, 2, 3)).sum() > 6
    # noise alone makes a difference
    assert ((image[:, 0] > 0.55) == (label > 0)).float().mean() > 0.98
