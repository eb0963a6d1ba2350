"""Fine-tuning settings in files of their own: inheritance, what wins, mistakes, and the papers' files."""

from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from one_line import refused

from bench.protocol import finetune_of, read

SHIPPED = Path(__file__).parents[2] / "protocols" / "settings" / "finetune"
BASE = {
    "title": "Test",
    "networks": {"net": {"network": "unet3d", "preset": "tiny", "crop": [32, 32, 32]}},
    "rows": {"alone": {"method": "scratch", "network": "net"}},
    "finetune": [{"dataset": "msd04_hippocampus", "split": "even", "settings": "one.yaml"}],
}
ONE = {
    "epochs": 100,
    "crops": 3,
    "batch": 6,
    "precision": "fp32",
    "crop": [16, 16, 16],
    "optimiser": {"name": "sgd", "lr": 0.01, "momentum": 0.99},
    "augment": {"flip": 0.5, "rotate": 0.2},
}


class Folder:
    """Protocols and settings beside each other."""

    def __init__(self, path):
        self.path = path

    def put(self, name, value):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False))
        return file

    def read(self, section=None, row=None, scale=None, **top):
        value = {**BASE, **top}
        laid = {**BASE["finetune"][0], **(section or {})}
        value["finetune"] = [{k: v for k, v in laid.items() if (k, v) != ("settings", None)}]
        if row is not None:
            value["rows"] = {"alone": {**BASE["rows"]["alone"], "finetune": row}}
        return read(self.put("test.yaml", value), scale)

    def section(self, *given, **named):
        return self.read(*given, **named).finetune[0]

    def row(self, row, section=None, scale=None, **top):
        found = self.read(section, row, scale, **top)
        return finetune_of(found, 0, found.rows["alone"])


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    made.put("one.yaml", ONE)
    return made


# What wins


def test_a_section_takes_the_files_values_and_keeps_its_data(folder):
    found = folder.section()
    assert (found.dataset, found.split, found.settings) == ("msd04_hippocampus", "even", "one.yaml")
    assert (found.epochs, found.steps, found.crops, found.batch) == (100, None, 3, 6)
    assert (
        found.crop == (16, 16, 16)
        and found.optimiser.momentum == 0.99
        and found.augment.rotate == 0.2
    )
    assert found.inference.overlap == 0.5  # said by nobody


def test_what_stands_beside_settings_wins_key_by_key(folder):
    found = folder.section({"optimiser": {"lr": 1.0}, "augment": {"flip": 0.0}, "crop": None})
    assert (found.optimiser.name, found.optimiser.lr, found.optimiser.momentum) == (
        "sgd",
        1.0,
        0.99,
    )
    assert (found.augment.flip, found.augment.rotate, found.crop) == (0.0, 0.2, None)


def test_a_budget_beside_settings_replaces_the_files(folder):
    found = folder.section({"steps": 7})
    assert (found.steps, found.epochs) == (7, None)
    folder.put("one.yaml", {"steps": 9})
    found = folder.section({"epochs": 2.5})
    assert (found.steps, found.epochs) == (None, 2.5)
    with refused("set the budget once"):
        folder.section({"epochs": 2, "steps": 3})


def test_a_file_builds_on_another_from_its_own_folder(folder):
    folder.put("deep/two.yaml", {"settings": "../one.yaml", "steps": 5, "augment": {"flip": 0.1}})
    folder.put("three.yaml", {"settings": "deep/two.yaml", "batch": 2})
    found = folder.section({"settings": "three.yaml"})
    assert (found.batch, found.steps, found.epochs, found.crops) == (2, 5, None, 3)
    assert (found.augment.flip, found.augment.rotate) == (0.1, 0.2)


def test_a_rows_settings_leave_nothing_of_the_sections_recipe(folder):
    folder.put("two.yaml", {"steps": 5, "optimiser": {"lr": 0.3}})
    section = {
        "recipe": "percentile",
        "fractions": [25, 50],
        "seeds": [3],
        "clip": 1.0,
        "select": "best_val",
        "optimiser": {"nesterov": True},
    }
    found = folder.row({"settings": "two.yaml", "batch": 8}, section)
    assert (found.steps, found.epochs, found.crops, found.batch) == (5, None, 1, 8)
    assert (found.optimiser.name, found.optimiser.lr, found.optimiser.nesterov) == (
        "adamw",
        0.3,
        False,
    )
    assert (found.augment.flip, found.crop, found.clip, found.select) == (0.0, None, None, "last")
    assert (found.dataset, found.split) == ("msd04_hippocampus", "even")
    assert (found.recipe, found.fractions, found.seeds) == ("percentile", (25, 50), (3,))


def test_a_rows_settings_may_state_the_recipe_of_the_data_and_the_row_another(folder):
    folder.put("two.yaml", {"steps": 5, "recipe": "percentile"})
    assert folder.row({"settings": "two.yaml"}).recipe == "percentile"
    assert folder.row({"settings": "two.yaml", "recipe": "coarse"}).recipe == "coarse"


def test_a_scale_lies_over_what_settings_of_sections_and_rows_say(folder):
    scales = {"smoke": {"finetune": {"steps": 2, "crop": None, "augment": {"flip": 0.0}}}}
    paper, smoke = folder.section(scales=scales), folder.section(scale="smoke", scales=scales)
    assert (paper.epochs, paper.steps, paper.crop) == (100, None, (16, 16, 16))
    assert (smoke.epochs, smoke.steps, smoke.crop) == (None, 2, None)
    assert (smoke.augment.flip, smoke.augment.rotate) == (0.0, 0.2)
    scales = {"smoke": {"rows": {"alone": {"finetune": {"steps": 2}}}}}
    found = folder.row({"settings": "one.yaml"}, scale="smoke", scales=scales)
    assert (found.steps, found.epochs, found.batch) == (2, None, 6)


def test_a_scale_may_name_settings_for_sections_and_rows(folder):
    folder.put("small.yaml", {"steps": 3, "batch": 4})
    named = {"settings": "small.yaml", "seeds": [8]}
    scales = {"smoke": {"finetune": named}}
    found = folder.section(scale="smoke", scales=scales)
    assert (found.steps, found.epochs, found.batch, found.seeds) == (3, None, 4, (8,))
    assert (found.optimiser.name, found.crop) == ("adamw", None)  # of one.yaml nothing is left
    assert folder.section(scales=scales).batch == 6
    scales = {"smoke": {"rows": {"alone": {"finetune": named}}}}
    found = folder.row({"settings": "one.yaml"}, scale="smoke", scales=scales)
    assert (found.steps, found.epochs, found.batch) == (3, None, 4)


# Mistakes, each with the file and the line in which it stands

WRONG = [
    ("missing", {"settings": "none.yaml"}, {}, r"test\.yaml:\d+: .*\.settings: .*none\.yaml is no file"),
    ("folder", {"settings": "."}, {}, r"test\.yaml:\d+: .*is no file"),
    ("number", {"settings": 3}, {}, r"test\.yaml:\d+: .*expected the path of a file, got 3"),
    ("empty", {"settings": ""}, {}, r"test\.yaml:\d+: .*expected the path of a file, got ''"),
    ("list", {"settings": ["one.yaml"]}, {}, r"test\.yaml:\d+: .*expected the path of a file"),
    ("key", {}, {"one.yaml": "crops: 2\nepoch: 3\n"}, r"one\.yaml:2: epoch: unknown key.*'epochs'"),
    ("inner key", {}, {"one.yaml": "steps: 2\noptimiser:\n  rl: 3\n"}, r"one\.yaml:3: optimiser\.rl: unkn"),
    ("type", {}, {"one.yaml": "steps: many\n"}, r"one\.yaml:1: steps: expected a whole number"),
    ("range", {}, {"one.yaml": "steps: 2\nschedule: {warmup: 2}\n"}, r"\.yaml:2: .*warmup must be from"),
    ("combination", {}, {"one.yaml": "steps: 2\nbatch: 3\nscans: 2\n"}, "batch 3 must be a multiple of scans"),
    ("batch Dice", {}, {"one.yaml": "steps: 2\nloss: cross_entropy\nbatch_dice: true\n"},
     "batch_dice does nothing with"),
    ("no such part", {}, {"one.yaml": "steps: 2\nloss: dice\nce_weight: 0.5\n"},
     "ce_weight does nothing with 'loss: dice'"),
    ("nesterov", {}, {"one.yaml": "steps: 2\noptimiser: {name: sgd, momentum: 0, nesterov: true}\n"},
     r"one\.yaml:2: optimiser: nesterov needs a momentum"),
    ("own data", {}, {"one.yaml": "steps: 2\nseeds: [1]\n"}, r"one\.yaml:2: seeds: belongs in the"),
    ("own regions", {}, {"one.yaml": "steps: 2\nregions: {a: [1]}\n"}, r"one\.yaml:2: regions: belongs"),
    ("no mapping", {}, {"one.yaml": "- steps: 2\n"}, r"one\.yaml:1: expected a mapping"),
    ("nothing", {}, {"one.yaml": ""}, r"one\.yaml: the file has no keys"),
    ("no YAML", {}, {"one.yaml": "steps: [2\n"}, r"one\.yaml:\d+: not YAML"),
    ("twice", {}, {"one.yaml": "steps: 2\nsteps: 3\n"}, r"one\.yaml:2: key 'steps' is written twice"),
    ("itself", {}, {"one.yaml": "steps: 2\nsettings: one.yaml\n"}, r"one\.yaml:2: .*includes itself"),
    ("each other", {}, {"one.yaml": "settings: two.yaml\n", "two.yaml": "crops: 2\nsettings: ./one.yaml\n"},
     r"two\.yaml:2: .*one\.yaml includes itself"),
    ("below", {}, {"one.yaml": "settings: two.yaml\n", "two.yaml": "crops: 2\nstepz: 1\n"}, r"two\.yaml:2"),
    ("no budget", {}, {"one.yaml": "crops: 2\n"}, r"test\.yaml.*set the budget once"),
    ("line break", {"settings": "no\nne.yaml"}, {}, r"test\.yaml:\d+: .*is no file"),
    ("long", {"settings": "x" * 5000}, {}, r"test\.yaml:\d+: .*is no file"),
    ("control", {"settings": "no\0ne.yaml"}, {}, r"test\.yaml:\d+: .*is no file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "files", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG]
)
@pytest.mark.parametrize("of_row", [False, True])
def test_a_mistake_is_told_at_its_own_line(folder, section, files, message, of_row):
    for name, text in files.items():
        folder.put(name, text)
    with refused(message):
        if of_row:
            folder.put("fine.yaml", ONE)
            folder.read({"settings": "fine.yaml"}, {"settings": "one.yaml", **section})
        else:
            folder.read(section)


def test_a_mistake_of_a_scale_is_told_where_it_stands(folder):
    scales = {"smoke": {"finetune": {"settings": "none.yaml"}}}
    with refused(r"test\.yaml:\d+: scales\.smoke\.finetune\.settings: .*is no file"):
        folder.read(scale="smoke", scales=scales)


# The files that are shipped

PAPERS = {  # what a paper states, by the key that says so; golden.json pins what our protocols use
    "glmae.yaml": {
        "crop": (96, 96, 96), "epochs": 3000, "scans": 4, "optimiser.name": "adamw", "optimiser.lr": 3e-4,
        "evaluation": "end_to_end",
    },
    "glmae_linear.yaml": {
        "epochs": 3000, "scans": 4, "optimiser.lr": 1e-2, "evaluation": "decoder", "optimiser.name": "adamw",
    },
    "nnunet_pretrained.yaml": {
        "steps": 1000 * 250, "optimiser.lr": 0.001, "optimiser.momentum": 0.99, "schedule.warmup": 50 / 1000,
        "schedule.name": "poly", "deep_supervision": False,
    },
    "nnssl_sawtooth.yaml": {
        "steps": 1000 * 250, "optimiser.lr": 0.001, "new.warmup": 25 / 1000, "new.restart": True,
        "loaded.frozen": 50 / 1000, "loaded.warmup": 50 / 1000, "schedule.name": "poly",
    },
    "primus.yaml": {
        "optimiser.name": "adamw", "optimiser.lr": 1e-4, "optimiser.betas": (0.9, 0.98), "clip": 1.0,
        "optimiser.weight_decay": 5e-2, "schedule.warmup": 50 / 1000, "deep_supervision": False,
    },
    "primus_scratch.yaml": {"optimiser.name": "adamw", "optimiser.lr": 3e-4, "schedule.warmup": 50 / 1000},
    "layer_decay.yaml": {"optimiser.lr": 1e-4, "loaded.layer_decay": 0.75},
    "ema.yaml": {"optimiser.lr": 1e-3, "ema": 0.999, "evaluation": "end_to_end"},
    "lora.yaml": {"optimiser.lr": 3e-4, "lora.rank": 8, "lora.alpha": 16, "loaded.frozen": 1.0},
    "head_only.yaml": {"optimiser.lr": 1e-2, "loaded.frozen": 1.0, "evaluation": "end_to_end"},
    "decoder_only.yaml": {"optimiser.lr": 1e-2, "evaluation": "decoder", "loaded.frozen": 0.0},
    "asparagus.yaml": {
        "steps": 1000 * 250, "optimiser.lr": 1e-3, "schedule.name": "cosine", "new.warmup": 50 / 1000,
        "new.restart": True, "loaded.frozen": 50 / 1000, "loaded.warmup": 50 / 1000,
    },
    "voco_mmwhs.yaml": {
        "crop": (64, 64, 64), "epochs": 1000, "crops": 4, "batch": 4, "scans": 1, "optimiser.lr": 1e-3,
        "optimiser.amsgrad": True, "foreground": 9 / 10, "augment.scale": 0.0, "augment.flip": 0.2,
    },
    "voco_cc_ccii.yaml": {
        "epochs": 100, "batch": 4, "optimiser.lr": 3e-4, "optimiser.amsgrad": True, "loss": "cross_entropy",
    },
    "taleb_brats.yaml": {
        "crop": (128, 128, 128), "epochs": 150, "optimiser.name": "adam", "optimiser.lr": 1e-4,
        "loss": "dice",
    },
    "taleb_brats_2d.yaml": {"crop": (128, 128, 1), "epochs": 150, "optimiser.lr": 1e-4, "loss": "dice"},
    "taleb_pancreas_2d.yaml": {
        "crop": (128, 128, 1), "epochs": 400, "batch": 64, "optimiser.lr": 1e-3, "frozen": 25 / 400,
        "clip": None,
    },
    "taleb_retina.yaml": {
        "crop": (224, 224, 1), "epochs": 20, "batch": 32, "optimiser.name": "adam", "optimiser.lr": 5e-5,
        "head": "ordinal", "hidden": 1024, "frozen": 3 / 20, "holdout": 0.05,
        "augment.zoom_range": (0.85, 1.15),
    },
    "taleb_pancreas.yaml": {
        "crop": (128, 128, 128), "epochs": 400, "optimiser.name": "adam", "optimiser.lr": 1e-3,
        "frozen": 25 / 400, "clip": 1.0, "clip_each": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [p.name for p in SHIPPED.iterdir()])
@pytest.mark.parametrize("of_row", [False, True])
def test_a_shipped_file_reads_and_says_what_its_paper_states(folder, name, of_row):
    named = {"settings": str(SHIPPED / name)}
    if name.startswith("pilot"):
        named["steps"] = 7  # pilots state their own
    flat = {"networks": {"net": {"network": "unet2d", "preset": "tiny", "crop": [32, 32, 1]}}}
    top = (
        flat
        if name
        in ("hssl.yaml", "taleb_brats_2d.yaml", "taleb_pancreas_2d.yaml", "taleb_retina.yaml")
        else {}
    )
    alone = {"settings": None, "steps": 1}
    found = folder.row(named, alone, **top) if of_row else folder.section(named, **top)
    for path, value in PAPERS.get(name, {}).items():
        assert attrgetter(path)(found) == value, path
    assert (found.steps is None) != (found.epochs is None)
    assert found.held == ("epochs" if found.epochs else "steps")
