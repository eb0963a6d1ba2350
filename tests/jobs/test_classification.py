"""A classification from files to scores, through the jobs: it learns, it resumes, it says what it did."""

import json
import shutil

import blobs
import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import a_job

from bench import nets
from bench.data.prepared import Prepared
from bench.dataset import Case
from bench.errors import BenchError
from bench.jobs import class_scores
from bench.jobs.evaluate import run as evaluating
from bench.jobs.inputs import part
from bench.jobs.scoring import path
from bench.nets import transfer
from bench.protocol.sections import Probe
from bench.random import torch_seed

NET2D = ("unet2d", (32, 32, 1))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Jobs of graded blobs, prepared."""
    folder = tmp_path_factory.mktemp("graded")
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, folder)
        jobs = blobs.Jobs(folder / "out", "graded_blobs", blobs.write(folder / "data", 90))
        jobs.done(jobs.prepare())
        yield jobs


@pytest.fixture
def copied(base, tmp_path):
    """Return a function that gives the prepared jobs in an output folder of their own."""

    def copy(name):
        shutil.copytree(base.store.root, tmp_path / name)
        return blobs.Jobs(tmp_path / name, base.name, base.root)

    return copy


def test_from_files_to_scores_it_learns_the_classes_of_volumes(base):
    tuned = base.finetune("unet3d", (32, 32, 16), steps=70)
    folder = base.done(tuned)
    tensors, manifest = transfer.read(folder / "last.safetensors")
    assert manifest.out_channels == 3 and "head.weight" in tensors
    assert not [k for k in tensors if k.startswith("decoder.")]
    judged, scoring = base.evaluate(tuned), base.scoring("accuracy", "auc", "qwk")
    cases, scores, _ = class_scores.read(base.done(judged, scoring))
    prepared = Prepared(base.store.jobs / base.prepare().id)
    assert cases == part(prepared, judged.spec.data, str(base.root)) and len(cases) > 8
    np.testing.assert_allclose(scores.sum(1), 1)
    rows = pd.read_parquet(path(base.store, judged.id, scoring))
    each, over = rows[rows["metric"] == "accuracy"], rows[rows["metric"] != "accuracy"]
    assert each["case"].tolist() == cases and each["patient"].tolist() == [c[:7] for c in cases]
    hits = [float(s.argmax() == int(c[-1])) for c, s in zip(cases, scores, strict=True)]
    assert each["value"].tolist() == hits and set(each["unit"]) == {"1"}
    assert set(rows["target"]) == {"all"}
    assert np.mean(hits) > 0.7  # a third is chance
    assert over["case"].tolist() == over["patient"].tolist() == ["", ""]
    assert dict(zip(over["metric"], over["value"] > 0.7, strict=True)) == {"auc": True, "qwk": True}


@pytest.mark.parametrize("kind", ["ridge", "logistic", "knn"])
def test_a_probe_of_a_random_encoder_beats_chance_and_leaves_it_as_it_was(base, kind):
    probe = Probe(kind=kind) if kind != "knn" else Probe(kind=kind, samples=60, k=5)
    tuned = base.finetune("unet3d", (32, 32, 16), steps=None, evaluation="probe", probe=probe)
    tensors, _ = transfer.read(base.done(tuned) / "last.safetensors")
    torch.manual_seed(torch_seed(0, "network"))
    before = nets.classifier("unet3d", "tiny", 1, 3, (32, 32, 16)).encoder.state_dict()
    after = {k.partition("encoder.")[2]: v for k, v in tensors.items() if "encoder." in k}
    assert after.keys() == before.keys() and all(torch.equal(after[k], before[k]) for k in before)
    cases, scores, _ = class_scores.read(base.done(base.evaluate(tuned)))
    np.testing.assert_allclose(scores.sum(1), 1)
    assert np.mean([s.argmax() == int(c[-1]) for c, s in zip(cases, scores, strict=True)]) > 0.5


def start(seed):
    torch.manual_seed(seed)
    return nets.classifier("unet2d", "tiny", 1, 3, NET2D[1])


def test_a_linear_evaluation_leaves_the_encoder_as_it_was_and_end_to_end_does_not(base):
    before = start(torch_seed(0, "network")).state_dict()
    trained = {"linear": {"head.weight", "head.bias"}, "end_to_end": set(before)}
    for evaluation, expected in trained.items():
        job = base.finetune(*NET2D, steps=3, evaluation=evaluation)
        after, _ = transfer.read(base.done(job) / "last.safetensors")
        assert {k for k, v in after.items() if not torch.equal(v, before[k])} == expected


def test_it_starts_from_a_pretrained_encoder(base):
    pretrained = start(99).encoder.state_dict()
    source = a_job("pretrain")
    folder = base.store.jobs / source.id
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(source.plain()))
    manifest = transfer.Manifest("unet2d", "tiny", 1, 0, NET2D[1], method="some")
    tensors = {f"encoder.{k}": v for k, v in pretrained.items()}
    transfer.save(folder / "weights.safetensors", tensors, manifest)
    tuned = base.finetune(*NET2D, (source,), steps=2, evaluation="linear")
    after, made = transfer.read(base.done(tuned) / "last.safetensors")
    assert all(torch.equal(after[k], v) for k, v in tensors.items())
    assert made.method == "some"
    receipt = base.store.manifest(tuned.id)["receipt"]
    assert receipt["share"] == 1 and receipt["left_random"] == 2


def interrupted(jobs, job):
    """Stop after every step or case; return how often."""
    attempts = 0
    while True:
        looks = iter(range(1, 100))
        outcome = jobs.do(job, stopping=lambda looks=looks: next(looks) >= 1)
        if outcome.state == "done":
            return attempts
        assert outcome.state == "stopped", outcome.reason
        attempts += 1


def test_stopped_anywhere_it_ends_with_the_same_bits_and_the_best_weights_are_those_of_most_hits(
    copied, monkeypatch
):
    whole, pieces = copied("whole"), copied("pieces")
    tuned = whole.finetune(*NET2D, steps=5, select="best_val", val_every=0.2)
    folder = whole.done(tuned)
    assert interrupted(pieces, tuned) == 4
    for name in ("last.safetensors", "best_val.safetensors", "curve.csv"):
        assert (folder / name).read_bytes() == (pieces.store.jobs / tuned.id / name).read_bytes()
    said = [line for line in (folder / "log.txt").read_text().splitlines() if "accuracy" in line]
    assert len(said) == 5 and "held-out cases" in said[0]
    predicted, real = [], evaluating.class_scores
    counted = lambda *given: predicted.append(1) or real(*given)  # noqa: E731
    monkeypatch.setattr(evaluating, "class_scores", counted)
    judged = whole.evaluate(tuned, "best_val")
    cases, scores, _ = class_scores.read(whole.done(judged))
    assert interrupted(pieces, judged) == len(cases) - 1
    assert len(predicted) == 2 * len(cases)  # none twice
    again, same, _ = class_scores.read(pieces.store.jobs / judged.id)
    assert again == cases and np.array_equal(scores, same)


def test_a_class_that_the_data_set_does_not_declare_is_named():
    class Odd:
        def cases(self):
            return [Case("x", "x", (), 3), Case("y", "y", (), None)]

    for case, label in (("x", 3), ("y", None)):
        message = f"case '{case}' has class {label}, .* declares classes 0 to 2"
        with pytest.raises(BenchError, match=message):
            class_scores.true_classes(Odd(), [case], 3)


def test_damaged_scores_are_named(tmp_path):
    file = tmp_path / class_scores.FILE
    class_scores.save(tmp_path, {"a": np.array([0.5, 0.5]), "b": np.array([0.1, 0.9])})
    assert class_scores.read(tmp_path)[0] == ["a", "b"]
    torn = file.read_bytes()[:100]
    for ids in (None, ["a"], [1, 2]):
        if ids is None:
            file.write_bytes(torn)
        else:
            np.savez(file, case=np.array(ids), scores=np.zeros((2, 2)))
        with pytest.raises(BenchError, match=r"classes\.npz.*run again"):
            class_scores.read(tmp_path)
