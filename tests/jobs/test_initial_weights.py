"""What a network starts from: groups by the load receipt, a last layer that comes along, a grid's choice."""

import hashlib
from dataclasses import replace
from itertools import product

import pytest
import torch
from by_hand import a_job, altered

from bench.jobs.context import RunOptions
from bench.nets import transfer
from bench.protocol.sections import Group, Optimiser
from bench.runtime.execute import execute

NETWORK, CROP = "genesis_unet3d", (16, 16, 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, made):
    """A network that was trained on the labels, as a file of weights, and its scores."""
    job = made.finetune(NETWORK, CROP, steps=60, foreground=0.5)
    tensors, manifest = transfer.read(made.done(job) / "last.safetensors")
    file = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    transfer.save(file, tensors, manifest)
    return file


def start(made, file, **recipe):
    """Return the outcome of a fine-tuning from a file, and where its weights lie."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    job = altered(made.finetune(NETWORK, CROP, **recipe), init=f"file:{digest}")
    made.describe(job)
    files = RunOptions(roots={made.name: str(made.root)}, files={digest: str(file)}, every=0.0)
    outcome = execute(str(made.store.root), job.id, files, lambda: False)
    return outcome, made.store.jobs / job.id, job


def weights(folder, name="last"):
    return transfer.read(folder / f"{name}.safetensors")[0]


def apart(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_as_loaded_nothing_trains_and_the_evaluation_scores_what_came(made, trained):
    outcome, folder, job = start(made, trained, steps=5, evaluation="as_loaded")
    assert outcome.state == "done", outcome.reason
    assert not apart(weights(folder), transfer.read(trained)[0])
    facts = made.store.manifest(job.id)
    assert (facts["steps"], facts["samples"]) == (0, 0) and not (folder / "curve.csv").exists()
    assert made.done(made.evaluate(job)).is_dir()


def test_as_loaded_a_network_of_which_a_part_did_not_come_is_refused(made, trained, tmp_path):
    tensors, manifest = transfer.read(trained)
    for kept, says in (
        ([k for k in tensors if not k.startswith("decoder.out_tr")], "no last layer"),
        ([k for k in tensors if "up_tr64" not in k], "of the network are not in the weights"),
    ):
        file = tmp_path / f"{len(kept)}.safetensors"
        transfer.save(file, {k: tensors[k] for k in kept}, manifest)
        outcome, folder, _ = start(made, file, steps=5, evaluation="as_loaded")
        assert outcome.state == "failed" and says in outcome.reason and not folder.exists()
    more = tmp_path / "classes.safetensors"
    transfer.save(more, tensors, replace(manifest, out_channels=7))
    outcome, _, _ = start(made, more, steps=5, evaluation="as_loaded")
    assert outcome.state == "failed" and "has 7 classes, the task has 2" in outcome.reason


def test_the_last_layer_is_new_unless_it_is_to_come_along(made, trained):
    seen = {}
    for output in ("new", "loaded"):
        groups = {"loaded": Group(rate=1e-9), "new": Group(rate=1e-9)}
        outcome, folder, job = start(made, trained, steps=1, output=output, norm="kept", **groups)
        assert outcome.state == "done", outcome.reason
        came, now = transfer.read(trained)[0], weights(folder)
        seen[output] = {k for k in came if not torch.allclose(came[k], now[k], atol=1e-6)}
        left_random = made.store.manifest(job.id)["receipt"]["left_random"]
        assert left_random == (2 if output == "new" else 0)
    last = {"decoder.out_tr.final_conv.weight", "decoder.out_tr.final_conv.bias"}
    assert seen == {"new": last, "loaded": set()}


def test_step_0_is_among_the_weights_that_validation_chooses_from(made, trained):
    recipe = {"steps": 4, "output": "loaded", "select": "best_val", "val": "full", "val_every": 0.5}
    spoiled = {**recipe, "optimiser": Optimiser(lr=100.0)}
    outcome, folder, _ = start(made, trained, **spoiled)
    assert outcome.state == "done", outcome.reason
    assert not apart(weights(folder, "best_val"), transfer.read(trained)[0])
    assert apart(weights(folder), transfer.read(trained)[0])


# A grid's choice


def test_the_recipe_that_validates_best_is_taken_over_and_of_equal_ones_the_first(made):
    first = made.finetune(NETWORK, CROP, steps=20)
    tried, scores = [], []
    for seed, rate in enumerate((1e-6, 3e-3)):
        job = made.finetune(NETWORK, CROP, steps=20, val="full", optimiser=Optimiser(lr=rate))
        tried.append(altered(job, finetune={"validated": True}, seed=seed))
        made.done(tried[-1])
        scores.append(made.store.manifest(tried[-1].id)["validation"])
    assert scores[1] > scores[0]
    for order in ([0, 1], [1, 0], [0, 0]):
        used = list(dict.fromkeys(order))
        candidates = []
        for number in order:
            settings = {"optimiser.lr": tried[number].spec.finetune.optimiser.lr}
            candidates.append({"settings": settings, "runs": [1 + used.index(number)]})
        spec = {**first.plain()["spec"], "tune": candidates}
        needs = (*first.needs, *(tried[number].id for number in used))
        chosen = a_job("finetune", spec, needs)
        folder, manifest = made.done(chosen), made.store.manifest(chosen.id)
        best = max(order, key=lambda number: scores[number])
        assert not apart(weights(folder), weights(made.store.jobs / tried[best].id))
        choice = manifest["choice"]
        assert choice["scores"] == [scores[number] for number in order]
        assert choice["best"] == order.index(best)
        assert choice["settings"][0].startswith("optimiser.lr")
        assert manifest["labels"] == made.store.manifest(tried[best].id)["labels"] != []
        assert manifest["steps"] == 20 and (folder / "curve.csv").is_file()
    assert made.done(made.evaluate(chosen)).is_dir()
    # by the other run: the recipe whose own run is the worst, because its other run is the best
    spec["tune"] = [
        {"settings": {"optimiser.lr": n}, "runs": [n + 1, 2 - n], "others": True} for n in (0, 1)
    ]
    crossed = a_job("finetune", spec, (*first.needs, *(job.id for job in tried)))
    assert not apart(weights(made.done(crossed)), weights(made.store.jobs / tried[0].id))
    assert made.store.manifest(crossed.id)["choice"]["scores"] == scores[::-1]


def test_of_inner_folds_only_the_recipe_is_taken_over(made):
    recipes = [{"steps": 4, "optimiser": Optimiser(lr=rate)} for rate in (1e-6, 3e-3)]
    first, second = (made.finetune(NETWORK, CROP, **recipe) for recipe in recipes)
    halves = []
    for half, job in product((0, 1), (first, second)):
        tried = altered(job, finetune={"validated": True, "steps": 2}, data={"inner": (half, 2)})
        made.done(tried)
        halves.append(tried)
    scores = [made.store.manifest(job.id)["validation"] for job in halves]
    candidates = [{"settings": {"n": n}, "runs": [n + 1, n + 3], "inner": True} for n in (0, 1)]
    needs = (*first.needs, *(job.id for job in halves))
    chosen = a_job("finetune", {**first.plain()["spec"], "tune": candidates}, needs)
    folder, manifest = made.done(chosen), made.store.manifest(chosen.id)
    best = int(scores[1] + scores[3] > scores[0] + scores[2])
    assert manifest["choice"]["best"] == best and "inner folds" in manifest["choice"]["on"]
    assert manifest["steps"] == 4
    assert not apart(weights(folder), weights(made.done((first, second)[best])))
