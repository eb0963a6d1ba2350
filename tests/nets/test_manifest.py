"""A checkpoint file is whole, tells what it is, or is refused in one line that names it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from bench.errors import BenchError
from bench.nets.transfer import Manifest, read, save

MANIFEST = Manifest(
    network="unetr",
    preset="tiny",
    in_channels=1,
    out_channels=3,
    crop=(64, 64, 32),
    recipe={"spacing": [1.0, 1.0, 2.5], "window": [-175, 250]},
    method="m",
    params={"ratio": 0.75},
    key="0123456789abcdef",
    step=40,
    labels=("background", "anterior", "posterior"),
)


def test_a_file_gives_back_tensors_and_manifest(tmp_path):
    tensors = {"encoder.a": torch.randn(3, 4).t(), "encoder.b": torch.arange(5)}
    save(tmp_path / "w.safetensors", tensors, MANIFEST)
    back, manifest = read(tmp_path / "w.safetensors")
    assert manifest == MANIFEST
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)


def test_tensors_that_share_memory_are_stored_apart(tmp_path):
    one = torch.arange(4.0)
    save(tmp_path / "w.safetensors", {"a": one, "b": one[:2]}, MANIFEST)
    back, _ = read(tmp_path / "w.safetensors")
    assert torch.equal(back["b"], one[:2])


def test_the_same_content_gives_the_same_bytes(tmp_path):
    tensors = {"b": torch.ones(2), "a": torch.zeros(3)}
    save(tmp_path / "1", tensors, MANIFEST)
    save(tmp_path / "2", dict(reversed(tensors.items())), MANIFEST)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_an_overwritten_file_leaves_nothing_aside(tmp_path):
    for value in (0.0, 1.0):
        save(tmp_path / "w.safetensors", {"a": torch.full((2,), value)}, MANIFEST)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    assert read(tmp_path / "w.safetensors")[0]["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("keep", [0, 4, 20, -8])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    path = tmp_path / "w.safetensors"
    save(path, {"a": torch.ones(100)}, MANIFEST)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BenchError, match=r"w\.safetensors: cannot be read") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_refused_by_name(tmp_path):
    with pytest.raises(BenchError, match=r"none\.safetensors: cannot be read"):
        read(tmp_path / "none.safetensors")


def stored(path, metadata):
    save_file({"a": torch.ones(1)}, path, metadata=metadata)
    return path


def test_a_file_without_a_readable_manifest_is_refused(tmp_path):
    with pytest.raises(BenchError, match="no manifest"):
        read(stored(tmp_path / "plain", None))
    with pytest.raises(BenchError, match="not JSON"):
        read(stored(tmp_path / "broken", {"bench.manifest": "{"}))
    with pytest.raises(BenchError, match="not JSON"):
        read(stored(tmp_path / "deep", {"bench.manifest": "[" * 5000}))
    with pytest.raises(BenchError, match="no JSON object"):
        read(stored(tmp_path / "list", {"bench.manifest": "[[1]]"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"crop": [64, 64]}, "crop"),
        ({"crop": None}, "crop"),
        ({"colour": 1}, "'colour' is missing or unknown"),
        ({"crop": [1e999, 1, 1]}, "crop"),
        ({"network": 5}, "'network' must be str, got 5"),
        ({"step": True}, "'step' must be int"),
        ({"recipe": []}, "'recipe' must be"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_the_file(tmp_path, change, message):
    text = json.dumps({**MANIFEST.to_dict(), **change})
    with pytest.raises(BenchError, match=f"odd: manifest.*{message}"):
        read(stored(tmp_path / "odd", {"bench.manifest": text}))


def test_a_manifest_without_a_field_is_refused():
    values = MANIFEST.to_dict()
    del values["network"]
    with pytest.raises(BenchError, match="'network' is missing"):
        Manifest.from_dict(values)


def test_manifests_survive_json():
    plain = replace(MANIFEST, labels=())
    assert Manifest.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain
