"""A checkpoint file is whole, tells what it is, or is refused in one line that names it."""

import json
from dataclasses import replace

import pytest
import torch
from one_line import refused
from safetensors.torch import save_file

from bench.nets.transfer import Manifest, read, save

RECIPE = {"spacing": [1.0, 1.0, 2.5], "window": [-175, 250]}
LABELS = ("background", "anterior", "posterior")
PRETRAINED = ("m", {"ratio": 0.75}, "0123456789abcdef", 40, LABELS)
MANIFEST = Manifest("unetr", "tiny", 1, 3, (64, 64, 32), RECIPE, *PRETRAINED)


@pytest.mark.parametrize("manifest", [MANIFEST, replace(MANIFEST, labels=())])
def test_a_file_gives_back_tensors_apart_and_the_manifest(tmp_path, manifest):
    first = torch.arange(5)
    # shared memory
    tensors = {"encoder.a": torch.randn(3, 4).t(), "encoder.b": first, "encoder.c": first[:2]}
    save(tmp_path / "w.safetensors", tensors, manifest)
    back, result = read(tmp_path / "w.safetensors")
    assert result == manifest
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[k], tensors[k]) for k in tensors)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    tensors = {"b": torch.ones(2), "a": torch.zeros(3)}
    save(tmp_path / "1", tensors, MANIFEST)
    save(tmp_path / "2", dict(reversed(tensors.items())), MANIFEST)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_or_buffers_that_are_not_finite_are_not_written(tmp_path, kind, value):
    tensors = {"encoder.norm.var": torch.tensor([1, value]).to(kind), "count": torch.ones(())}
    with refused(r"w\.safetensors: tensor 'encoder\.norm\.var' holds values"):
        save(tmp_path / "w.safetensors", tensors, MANIFEST)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [None, 0, 4, 20, -8])
def test_an_absent_or_truncated_file_is_refused_by_name(tmp_path, keep):
    path = tmp_path / "w.safetensors"
    if keep is not None:
        save(path, {"a": torch.ones(100)}, MANIFEST)
        path.write_bytes(path.read_bytes()[:keep])
    with refused(r"w\.safetensors: cannot be read"):
        read(path)


def changed(**fields):
    return json.dumps({**MANIFEST.to_dict(), **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no manifest"),
        ("{", "manifest is not JSON"),
        ("[" * 5000, "manifest is not JSON"),
        ("[[1]]", "its manifest is damaged .no JSON object.; export"),
        (changed(schema=2), "schema 2"),
        (changed(crop=[64, 64]), "crop"),
        (changed(crop=None), "crop"),
        (changed(crop=[1e999, 1, 1]), "crop"),
        (changed(colour=1), "'colour': unknown key"),
        (changed(**{"a\nb": 1}), r"'a\\nb': unknown key"),
        (changed().replace('"labels"', '"label"'), "'labels' is missing"),
        (changed(network=5), "'network': expected text, got 5"),
        (changed(step=True), "'step': expected a whole number"),
        (changed(recipe=[]), "'recipe': expected a mapping"),
    ],
)
def test_a_manifest_that_lacks_or_does_not_fit_is_refused_with_the_file(tmp_path, text, message):
    save_file({"a": torch.ones(1)}, tmp_path / "odd", metadata=text and {"bench.manifest": text})
    with refused(f"odd: .*{message}"):
        read(tmp_path / "odd")
