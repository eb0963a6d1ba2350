"""``bench embed``: files that hold what the encoder makes of each case, and a folder that goes on."""

import json

import blosc2
import numpy as np
import pytest
import torch
from small_protocol import NAME

from bench import nets, registry
from bench.cli import main
from bench.data.prepared import opened
from bench.nets import transfer
from bench.probes.features import VoxelFeatures

CASES = 3


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Return DATA with three scans."""
    data = tmp_path_factory.mktemp("three")
    registry.load("dataset", NAME).phantom(data / NAME, CASES, 0)
    return data


@pytest.fixture
def embed(tmp_path, three, inlined):
    """Return a function from flags to the exit code and the folder."""

    def run(*flags, to="embedded", network="unet3d/tiny", init="random"):
        folder = tmp_path / to
        place = ["--data", str(three), "--out", str(tmp_path / "out"), "--to", str(folder)]
        words = ["embed", NAME, "--init", init, "--network", network, *place, "--workers", "1"]
        return main([*words, *flags]), folder

    return run


def test_vectors_and_maps_are_those_of_the_encoder_in_windows(embed, tmp_path):
    torch.manual_seed(3)
    network = nets.network("unet3d", "tiny", 1, 2, (32, 32, 32)).eval()
    tensors = {k: v for k, v in network.state_dict().items() if k.startswith("encoder.")}
    weights = tmp_path / "weights.safetensors"
    transfer.save(weights, tensors, transfer.Manifest("unet3d", "tiny", 1, 0, (32, 32, 32)))
    code, folder = embed(init=str(weights), network="unet3d")
    assert code == 0
    said = json.loads((folder / "manifest.json").read_text())
    assert said["network"] == "unet3d/tiny" and said["size"] == 2 * sum(network.encoder.widths)
    assert len(said["cases"]) == CASES == len(list(folder.glob("*.npy")))
    (job,) = (tmp_path / "out" / "jobs").iterdir()
    case = said["cases"][0]
    volume = opened(job).volume(case)
    assert all(side <= 64 for side in volume.shape)
    # at most two windows along an axis
    starts = [[0] if n <= 32 else [0, n - 32] for n in volume.shape]
    boxes = [
        volume.crop(
            [a if n > 32 else (n - 32) // 2 for a, n in zip(at, volume.shape, strict=True)],
            (32,) * 3,
        )
        for at in np.stack(np.meshgrid(*starts), -1).reshape(-1, 3).tolist()
    ]
    with torch.no_grad():
        pyramid = network.encoder(torch.from_numpy(np.stack(boxes)))
    by_hand = torch.cat([torch.cat([m.mean((2, 3, 4)), m.amax((2, 3, 4))], 1) for m in pyramid], 1)
    vector = np.load(folder / f"{case}.npy")
    np.testing.assert_allclose(vector, by_hand.mean(0).numpy(), rtol=1e-4, atol=1e-5)

    code, maps = embed("--voxels", "--levels", "0", init=str(weights), network="unet3d", to="maps")
    assert code == 0
    array = blosc2.open(str(maps / f"{case}.b2nd"))[:]
    assert array.shape == (network.encoder.widths[0], *volume.shape)
    low = [max(0, (32 - n) // 2) for n in volume.shape]  # what lacks before, of a small volume
    first = torch.from_numpy(volume.crop([-n for n in low], (32,) * 3))[None]
    with torch.no_grad():
        corner = VoxelFeatures(network.encoder, [0])(first)[0]
    inside = array[:, :4, :4, :4]  # where no other window is
    expected = corner[:, low[0] : low[0] + 4, low[1] : low[1] + 4, low[2] : low[2] + 4]
    np.testing.assert_allclose(inside, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_stopped_folder_goes_on_and_another_embedding_does_not_mix_in(embed, capsys):
    code, folder = embed()
    first, *rest = sorted(folder.glob("*.npy"))
    before, again = first.read_bytes(), rest[0].read_bytes()
    rest[0].unlink()
    capsys.readouterr()
    assert embed()[0] == 0 and "1 files written" in capsys.readouterr().out
    assert rest[0].read_bytes() == again and first.read_bytes() == before
    assert embed("--levels", "0")[0] == 2
    assert "holds other embeddings" in capsys.readouterr().err
    assert code == 0 and first.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "changes", "problem"),
    [
        (("--levels", "9"), {}, "has 5 levels, 0 to 4, and no level 9"),
        (("--levels", "a"), {}, "--levels a: write whole numbers"),
        (("--crop", "32,32"), {}, "--crop 32,32: give three sides"),
        (("--crop", "30,32,32"), {}, "crop"),
        (("--recipe", "none"), {}, "recipe"),
        ((), {"network": "unet4d"}, "unet4d"),
        ((), {"network": "unet3d/huge"}, "huge"),
        ((), {"init": "gone.safetensors"}, "gone.safetensors"),
        ((), {"init": "abc"}, "abc"),
    ],
)
def test_mistakes_are_told_in_a_line_and_leave_no_folder(embed, capsys, flags, changes, problem):
    code, folder = embed(*flags, **changes)
    error = capsys.readouterr().err
    assert code == 2 and problem in error and error.count("\n") == 1 and not folder.exists()
