"""Each fine-tuning recipe that ships, at a tiny size: stopped anywhere it ends with the same bits."""

import json
from itertools import accumulate
from pathlib import Path

import pytest
import yaml
from described import describe, execute
from test_resume import anywhere, interrupted, results

from bench import registry, run
from bench.document import overlay
from bench.store import Store
from bench.typed import plain

SETTINGS = Path(__file__).resolve().parents[1] / "protocols" / "settings" / "finetune"
RECIPES = sorted(p.stem for p in SETTINGS.glob("*.yaml"))
STEPS = 5
MAPS, CLASSES = "msd04_hippocampus", "cc_ccii"
PHANTOMS = {MAPS: (10, "resize"), CLASSES: (24, "coarse")}  # cases, data recipe
CLASSIFIED = {"voco_cc_ccii", "taleb_retina"}
NETS = {  # recipe, or how its name begins: a network that fits, and a crop
    "asparagus": ("resenc_unet", [32, 32, 32]),
    "decoder_only": ("resenc_unet", [32, 32, 32]),
    "ema": ("resenc_unet", [32, 32, 32]),
    "glmae": ("unetr", [32, 32, 16]),
    "hssl": ("hssl_resnet34", [64, 64, 1]),
    "head_only": ("resenc_unet", [32, 32, 32]),
    "layer_decay": ("unetr", [32, 32, 16]),
    "lora": ("unetr", [32, 32, 16]),
    "nnssl": ("resenc_unet", [32, 32, 32]),
    "nnunet": ("resenc_unet", [32, 32, 32]),
    "pgl": ("pgl_resnet50", [32, 32, 16]),
    "pilot": ("genesis_unet3d", [32, 32, 16]),
    "pilot_slices": ("hssl_unet", [32, 32, 1]),
    "primus": ("unetr", [32, 32, 16]),
    "taleb": ("taleb_unet3d", [32, 32, 32]),
    "taleb_retina": ("unet3d", [32, 32, 16]),
    "voco_cc_ccii": ("unet3d", [32, 32, 16]),
    "voco_mmwhs": ("unet3d", [32, 32, 32]),
    "voco": ("unet3d", [32, 32, 16]),
}
SAME = """
voco_lits voco_brats voco_spleen voco_mmwhs glmae_linear pgl_bcv primus primus_scratch nnunet nnunet_pretrained
nnssl_sawtooth pilot_slices taleb_brats taleb_brats_2d taleb_pancreas_2d
head_only layer_decay"""  # these two, from scratch, are `ema` and `lora` without what these are named after
ALIKE = SAME.split()  # another one trains their parts
REGIONS = {"organ": [1, 2], "tumour": [2]}
# What a tiny plan changes: the budget, sizes, what a CPU refuses, and shares too small for five steps.
CHANGED = ("steps", "batch", "scans", "precision", "val_every", "frozen", "patience", "inference")
# the rows here are from scratch, where nothing is loaded
GROUPS = ("new", "loaded", "norm", "output")


def stated(name):
    """Return what a settings file says, those below it included."""
    value = yaml.safe_load((SETTINGS / f"{name}.yaml").read_text())
    below = value.pop("settings", None)
    return overlay(stated(below.removesuffix(".yaml")), value) if below else value


def small(name):
    """Return a finetune section that has the recipe, small."""
    said = stated(name)
    dataset = CLASSES if name in CLASSIFIED else MAPS
    scans = said.get("scans")
    section = {"dataset": dataset, "split": "even", "settings": str(SETTINGS / f"{name}.yaml")}
    section |= {"steps": STEPS, "hold": "steps", "batch": scans if scans and scans > 1 else 2}
    section |= {"precision": "fp32", "val_every": 0.4, "recipe": PHANTOMS[dataset][1]}
    section |= {"inference": {"overlap": 0.0, "batch": 4}, "crop": network(name)[1]}
    if said.get("frozen"):
        section["frozen"] = 0.4  # lets go between the second step and the third
    if said.get("patience"):
        # gives up after two steps without a better Dice
        section |= {"patience": 0.4, "val_every": 0.2}
    if said.get("head") == "regions":
        section["regions"] = REGIONS
    return section


def network(name):
    """Return the network of a recipe and its crop."""
    return next(net for key, net in sorted(NETS.items(), reverse=True) if name.startswith(key))


def planned(out, name, data):
    """Plan one recipe; leave the jobs' descriptions in ``out``. Return the store and jobs by kind."""
    section = small(name)
    kind, crop = network(name)
    value = {"title": name, "baseline": "none", "finetune": [section]}
    value["networks"] = {"net": {"network": kind, "preset": "tiny", "crop": crop}}
    value["rows"] = {"row": {"method": "scratch", "network": "net"}}
    value["metrics"] = ["accuracy" if section["dataset"] == CLASSES else "dice"]
    path = out.parent / f"{name}.yaml"  # no scale: that of the paper, where best_test is allowed
    path.write_text(yaml.safe_dump(value))
    store = Store.open(out)
    request = run.Request((path,), out, data=data)
    plan = run.make_plan(request, request.read(), need_data=True)
    describe(plan, store, run.todo(plan, store))
    return store, {job.kind: job for job in plan.jobs.values()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a function that plans a recipe in a new output folder in which its data set is prepared."""
    data, done = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("prepared") / "out"
    for name, (cases, _) in PHANTOMS.items():
        (data / name).mkdir()
        registry.load("dataset", name).phantom(data / name, cases, 0)

    def give(name, folder):
        folder.mkdir()
        store, kinds = planned(done, name, data)
        job = kinds["prepare"].id
        if not (store.jobs / job).exists():
            assert execute(str(store.root), job).state == "done"
        (Store.open(folder / "out").jobs / job).symlink_to(store.jobs / job)
        return planned(folder / "out", name, data)

    return give


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_anywhere_a_recipe_ends_with_the_same_bits(name, prepared, tmp_path):
    store, kinds = prepared(name, tmp_path / "whole")
    tuned = kinds["finetune"]
    others = (*CHANGED, *GROUPS, "epochs", "crops", "hold", "crop")
    said = {k: v for k, v in stated(name).items() if k not in others}
    holdout = said.pop("holdout", 0)
    assert tuned.spec.network.hidden == said.pop("hidden", 0)
    assert tuned.spec.data.holdout == holdout
    whole = plain(tuned.spec.finetune)
    if said.get("evaluation") == "decoder":
        said["evaluation"] = "linear"  # what the specs of jobs call it
    assert overlay(whole, json.loads(json.dumps(said))) == whole
    if name in ALIKE:
        return
    assert execute(str(store.root), tuned.id).state == "done"
    expected = results(store, tuned.id)
    chosen = f"{said.get('select', 'last')}.safetensors"
    assert {"last.safetensors", "curve.csv", chosen} == set(expected)
    other, _ = prepared(name, tmp_path / "pieces")
    stops = anywhere()
    interrupted(other, tuned.id, stops)
    assert results(other, tuned.id) == expected, stops
    steps = len(expected["curve.csv"].splitlines()) - 1
    attempts = 1 + sum(at < steps for at in accumulate(stops))
    assert other.manifest(tuned.id)["attempts"] == attempts > 1


def test_the_recipes_that_are_trained_use_every_part_of_fine_tuning_together():
    said = [stated(name) for name in RECIPES if name not in ALIKE]
    parts = {"frozen", "holdout", "patience", "deep_supervision", "clip", "clip_each", "scans"}
    parts |= {"batch_dice", "hidden", "ema", "lora"}
    assert parts <= {key for s in said for key, value in s.items() if value}
    assert {s.get("select", "last") for s in said} == {"last", "best_val", "best_test"}
    assert {s.get("head", "softmax") for s in said} == {"softmax", "regions", "ordinal"}
