"""Every data set, as a person meets it: its phantom, its check, a fine-tuning, a pretraining."""

import json

import pytest
import yaml

from bench import registry
from bench.cli import main

pytestmark = pytest.mark.slow

NAMES = registry.names("dataset")
CASES = 5  # of which three or more are labelled, where any are
FLAT = {"resize": [32, 32, 1], "scale": "minmax"}
SOLID = {"resize": [32, 32, 16], "scale": "minmax"}
NETWORKS = {
    "solid": {"network": "unet3d", "preset": "tiny", "crop": [32, 32, 16]},
    "flat": {"network": "unet2d", "preset": "tiny", "crop": [32, 32, 1]},
}
BUDGET = {"steps": 2, "batch": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a data folder with every data set's phantom, made by the command."""
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        assert main(["phantom", name, str(folder), "--cases", str(CASES)]) == 0
    return folder


@pytest.fixture(scope="module")
def cases(data):
    """Return every data set's cases by name."""
    return {name: registry.load("dataset", name)().cases(data / name) for name in NAMES}


def flat(found):
    """Is a data set one of pictures?"""
    return found[0].images[0].suffix in (".png", ".jpg")


def run(path, data, protocol):
    file = path / "every.yaml"
    file.write_text(yaml.safe_dump({"title": "Every data set", **protocol}))
    return main(
        ["run", str(file), "--data", str(data), "--out", str(path / "runs"), "--workers", "2"]
    )


@pytest.mark.parametrize("shape", ["solid", "flat"])
def test_every_labelled_data_set_is_fine_tuned_on_and_scored(data, cases, shape, tmp_path, capsys):
    chosen = [
        name
        for name, found in cases.items()
        if flat(found) == (shape == "flat") and any(c.label is not None for c in found)
    ]
    assert len(chosen) >= (1 if shape == "flat" else 20)
    recipe = FLAT if shape == "flat" else SOLID
    sections = [
        {"dataset": name, "split": "leave_one_out", "folds": [0], "recipe": recipe, **BUDGET}
        for name in chosen
    ]
    protocol = {
        "networks": {"net": NETWORKS[shape]},
        "rows": {"scratch": {"method": "scratch", "network": "net"}},
        "finetune": sections,
        "metrics": ["dice", "accuracy"] if shape == "solid" else ["accuracy"],
    }
    assert run(tmp_path, data, protocol) == 0, capsys.readouterr()
    import pandas as pd

    (records,) = (tmp_path / "runs" / "records").glob("*.parquet")
    rows = pd.read_parquet(records)
    assert set(rows["dataset"]) == set(chosen) and "failed" not in set(rows["status"])


SCORED = {1: "msd02_heart", 2: "msd05_prostate", 4: "brats18"}  # by number of channels


@pytest.mark.parametrize("channels", SCORED)
def test_every_data_set_is_pretrained_on(data, cases, channels, tmp_path, capsys):
    """A mixture of all that have so many channels, labelled or not; the guard says what it met."""
    per: dict[int, list[str]] = {}
    for name, found in cases.items():
        if not flat(found):
            per.setdefault(len(registry.load("dataset", name).channels), []).append(name)
    assert set(per) == set(SCORED) and sum(map(len, per.values())) >= 24
    mixed = [{"dataset": name, "cases": "all"} for name in per[channels]]
    scored = {"dataset": SCORED[channels], "split": "leave_one_out", "folds": [0], "recipe": SOLID}
    protocol = {
        "networks": {"net": NETWORKS["solid"]},
        "rows": {m: {"method": m, "network": "net"} for m in ("scratch", "simclr3d")},
        "pretrain": {"datasets": mixed, "recipe": SOLID, "leaks": "allow", **BUDGET},
        "finetune": [{**scored, **BUDGET}],
    }
    assert run(tmp_path, data, protocol) == 0, capsys.readouterr()
    said = json.loads((tmp_path / "runs" / "records" / "every.json").read_text())
    (leak,) = said["leaks"]  # all of it is read: what is tested, too
    assert (leak["row"], leak["tests"], len(leak["cases"])) == ("simclr3d", 1, 1)
