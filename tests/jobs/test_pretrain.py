"""A pretraining job by hand: what it reads, what it leaves, what fine-tuning takes over of a decoder."""

from dataclasses import asdict, replace

import blobs
import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import a_job
from safetensors import safe_open

from bench import registry
from bench.data import case_filter
from bench.data.parts import Entry
from bench.dataset import Case
from bench.jobs.pretrain.run import Pretext, _Reader, labels_of, origins
from bench.method import Figure
from bench.nets import transfer

CROP = [16, 16, 16]


def pretrain(jobs, name, params=None, steps=2, **data):
    spec = {
        "method": {"name": name, "version": 1, "params": params or {}},
        "data": [{"dataset": jobs.name, "part": "all", **data}],
        "pretrain": {"steps": steps, "optimiser": {"lr": 1e-3}},
    }
    jobs.done(jobs.prepare())
    return a_job("pretrain", spec, (jobs.prepare().id,))


def keys(folder):
    with safe_open(folder / "weights.safetensors", "pt") as file:
        return set(file.keys())


def test_it_leaves_weights_a_curve_and_what_became_of_the_embeddings(jobs, tmp_path):
    for label in sorted((tmp_path / "data").glob("map_*"))[:2]:
        label.unlink()
    jobs = blobs.Jobs(tmp_path / "again", jobs.name, tmp_path / "data")
    folder = jobs.done(pretrain(jobs, "simclr3d", {"hidden": 8, "out": 8}))
    curve, seen = pd.read_csv(folder / "curve.csv"), pd.read_csv(folder / "embeddings.csv")
    assert {"step", "lr", "total", "retrieval", "chance"} <= set(curve) and curve[
        "step"
    ].tolist() == [1, 2]
    assert list(seen) == ["step", "std", "rank", "leading", "most"]
    assert seen["step"].tolist() == [0, 2]
    assert seen.notna().all(axis=None)
    told = jobs.store.manifest(folder.name)
    assert told["figure"] == asdict(registry.load("method", "simclr3d").figure)
    assert (told["cases"], told["unlabelled"]) == (5, 2)
    assert all(key.startswith("encoder.") for key in keys(folder))
    assert transfer.read(folder / "weights.safetensors")[1].out_channels == 0


def test_a_trained_decoder_is_handed_over_but_for_its_output_layer(jobs):
    made = pretrain(jobs, "supervised", labelled=True, classes=1)
    folder = jobs.done(made)
    _, manifest = transfer.read(folder / "weights.safetensors")
    assert manifest.out_channels == 2 and any(key.startswith("decoder.") for key in keys(folder))
    tuned = jobs.finetune("unet3d", CROP, (made,), steps=1, batch=2)
    receipt = jobs.store.manifest(jobs.done(tuned).name)["receipt"]
    assert receipt["share"] == 1 and not receipt["unexpected"]
    assert receipt["missing"] == [] and receipt["left_random"] == 2  # weight and bias of the output
    assert receipt["matched"] == len(keys(folder)) - 2


def test_only_labelled_cases_are_read_where_labels_are(jobs):
    cases = [Case(f"case{n}", f"p{n}", (), label) for n, label in enumerate([None, 0, None, 0])]
    data = Entry(dataset=jobs.name, part="all")
    assert len(case_filter.selected(cases, data, jobs.dataset, None, 0)) == 4
    found = case_filter.selected(cases, replace(data, labelled=True), jobs.dataset, None, 0)
    assert [case.id for case in found] == ["case1", "case3"]


def test_classes_of_several_data_sets_lie_side_by_side():
    a, b = {"dataset": "a", "classes": 3, "task": 1}, {"dataset": "b", "classes": 2, "task": 2}
    mixture = [a, b, a, {"dataset": "c", "classes": 1, "group": 4}]
    spec = a_job("pretrain", {"data": [{**entry, "part": "all"} for entry in mixture]}).spec
    before, total = spec.classes
    found = [{k: int(v) for k, v in labels_of(entry, before).items()} for entry in spec.data]
    one, two, three = {"task": 1, "first": 0}, {"task": 2, "first": 3}, {"group": 4, "first": 5}
    assert found == [one, two, one, three] and total == 6


def test_samples_of_one_data_set_and_modality_have_one_origin():
    mixture = [Entry(dataset=name, part="all") for name in "bab"]  # b twice, by other conditions
    ct, mr = {"modality": "CT"}, {"modality": "MR"}
    kinds = [(0, {}), (1, ct), (1, mr), (2, {}), (1, ct)]
    cases = [(i, Case(f"c{n}", f"p{n}", (), meta=meta)) for n, (i, meta) in enumerate(kinds)]
    assert [int(o) for o in origins(mixture, cases)] == [2, 0, 1, 2, 0]


def test_views_learn_the_recipes_scale_and_the_loss_where_samples_come_from():
    seen = []

    class Seen(torch.nn.Module):
        figure = Figure("total", "x")

        def views(self, batch, generator):
            seen.append(("views", set(batch)))
            return {"views": batch["crop"]}

        def loss(self, batch):
            seen.append(("loss", set(batch)))
            return {"total": batch["views"].sum()}

    objective = Pretext(Seen(), {}, None, None)
    batch = {"crop": torch.ones(2, 1, requires_grad=True)}
    known = {"origin": torch.zeros(2), "zscored": torch.ones(2).bool()}
    objective({**batch, **known}, torch.Generator())
    objective(batch, torch.Generator())
    assert seen[1] == ("loss", {"views", "origin"}) and seen[3] == ("loss", {"views"})
    assert "zscored" in seen[0][1]


def test_the_recipe_says_what_its_intensities_are(jobs):
    read = []
    with pytest.MonkeyPatch.context() as patch:
        cls = registry.load("method", "simclr3d")
        kept = cls.views
        patch.setattr(cls, "views", lambda self, b, g: (read.append(b), kept(self, b, g))[1])
        jobs.done(pretrain(jobs, "simclr3d", {"hidden": 8, "out": 8}))
    scale = jobs.store.manifest(jobs.prepare().id)["spec"]["recipe"]["scale"]
    assert all(b["zscored"].tolist() == [scale == "zscore"] * 2 for b in read)
    assert all(b["origin"].tolist() == [0, 0] for b in read)


def test_a_negative_of_the_data_set_is_any_case_but_the_own(jobs, monkeypatch):
    asked, real = [], _Reader._volume
    volume = lambda self, case: asked.append(case) or real(self, case)  # noqa: E731
    monkeypatch.setattr(_Reader, "_volume", volume)
    made = pretrain(jobs, "exemplar3d", {"emb": 8, "neg_source": "dataset"})
    curve = pd.read_csv(jobs.done(made) / "curve.csv")
    pairs = set(zip(asked[::2], asked[1::2], strict=True))
    assert {"accuracy", "chance"} <= set(curve) and len(pairs) > 1
    assert all(own != other for own, other in pairs)


def test_another_case_is_drawn_alike_often():
    reader, rng = object.__new__(_Reader), np.random.default_rng(0)
    reader.cases, reader._volume = [None] * 4, lambda case: case
    seen = np.bincount([reader._another(2, rng) for _ in range(600)], minlength=4)
    assert seen[2] == 0 and seen[[0, 1, 3]].min() > 150
