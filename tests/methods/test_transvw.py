"""TransVW: words are places, a crop is warped and deformed in one way, and both heads learn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from seeded import generator
from small_methods import (
    Gives,
    agree,
    batch_of,
    build,
    functions_of,
    params_of,
    ramp,
    raw_of,
    reached,
    view,
)

from bench.data.reader import Volume
from bench.errors import BenchError

NAME = "transvw"
RATES = ("local_rate", "nonlinear_rate", "inpaint_rate", "outpaint_rate")
STILL = {"elastic_rate": 0.0, **dict.fromkeys(RATES, 0.0)}
FEW = {"words": 8, "rescaled": 0.0, "least_std": 0.0}


def reads(params, volume, crop=(16, 16, 16), count=60):
    return [params.read(volume, crop, np.random.default_rng(i)) for i in range(count)]


# words


def test_a_word_is_one_place_and_the_same_share_of_every_volume():
    params, corners = params_of(NAME, **FEW), {}
    for shape in ((40, 36, 20), (64, 56, 24)):
        found = {}
        for row in reads(params, Volume(ramp(*shape))):
            found.setdefault(int(row["word"]), set()).add(tuple(row["crop"][:, 0, 0, 0].tolist()))
        assert set(found) == set(range(8)) and all(len(at) == 1 for at in found.values())
        corners[shape] = np.array([next(iter(found[w])) for w in range(8)])
    shares = [at / (np.array(shape) - 16) for shape, at in corners.items()]
    assert np.abs(shares[0] - shares[1]).max() < 1 / 4  # half a voxel of room 4, and half of 8
    assert np.abs(shares[0] - shares[1])[:, :2].max() < 1 / 24


def test_places_lie_apart_and_depend_on_their_seed_alone():
    places = functions_of(NAME).places
    at = places(44, 0.15, 1)
    distance = np.linalg.norm(at[:, None] - at, axis=2) + np.eye(44)
    assert at.shape == (44, 3) and distance.min() >= 0.15 and at.min() >= 0 and at.max() <= 1
    assert np.array_equal(at[:20], places(20, 0.15, 1))
    assert not np.array_equal(at, places(44, 0.15, 2))


def test_a_border_has_no_word_and_gives_way_where_there_is_no_room():
    params = params_of(NAME, **{**FEW, "words": 44, "border": (9, 5, 30)})
    starts = np.array([params.start(word, (40, 36, 20), (16, 16, 16)) for word in range(44)])
    assert (starts.min(0) >= (9, 5, 2)).all() and (starts.max(0) <= (40 - 25, 36 - 21, 2)).all()
    assert starts[:, 0].max() - starts[:, 0].min() >= 5
    centred = [params.start(word, (16, 12, 9), (16, 16, 16)).tolist() for word in range(44)]
    assert centred == [[0, -2, -4]] * 44


def test_other_crops_differ_in_the_plane_within_bounds_and_stay_inside():
    params, shape = params_of(NAME, **{**FEW, "rescaled": 1.0}), (64, 56, 24)
    crop = np.array((16, 16, 16))
    rng, factors, moves = np.random.default_rng(0), [], []
    for word in [*range(8)] * 100:
        start = params.start(word, shape, crop)
        at, size = params.varied(start, crop, shape, rng)
        assert (at >= 0).all() and (at + size <= shape).all()
        assert at[2] == start[2] and size[2] == 16
        assert size[0] == size[1]
        factors.append(size[0] / 16), moves.extend((at - start)[:2])
    assert (min(factors), max(factors)) == (13 / 16, 20 / 16)  # of 16, 12.5 and 20, rounded
    assert np.percentile(moves, [1, 99]).tolist() == pytest.approx([-2, 2], abs=1)
    at, size = params.varied(np.array((0, -2, 0)), crop, (16, 12, 24), rng)
    assert (size <= 16).all() and at[0] == 0 and at[1] <= 0  # no room: centred, padded
    rows = reads(params_of(NAME, **{**FEW, "rescaled": 0.5}), Volume(ramp(40, 36, 20)))
    changed = [not np.isin(row["crop"][0] % 1, 0).all() for row in rows]
    assert 0.2 < np.mean(changed) < 0.6  # resized, so between voxels; some keep their size


def test_a_flat_crop_is_another_words():
    image = np.zeros((1, 64, 16, 16), np.float32)
    image[:, 48:] = np.random.default_rng(0).normal(size=(1, 16, 16, 16))
    flat = {}
    for tries in (1, 40):
        params = params_of(NAME, **{"words": 44, "rescaled": 0.0, "tries": tries})
        flat[tries] = np.mean([r["crop"].std() == 0 for r in reads(params, Volume(image))])
    assert flat[1] > 0.5 and flat[40] < 0.1


def test_each_task_has_words_of_its_own():
    method = build(NAME, {**FEW, "tasks": 2})
    raw = raw_of(method)  # tasks 1, 2, 1, 2
    assert torch.equal(view(method, raw)["word"], raw["word"] + 8 * torch.tensor([0, 1, 0, 1]))
    assert method.head[-1].out_features == 16
    assert method.loss(batch_of(method))["chance"].item() == pytest.approx(1 / 8)


# deformations


def test_without_deformations_the_input_is_the_target_and_copying_is_perfect():
    method = build(NAME, {**STILL, "sigmoid": False})
    batch = view(method, raw_of(method))
    assert torch.equal(batch["x"], batch["y"])
    assert batch["y"].amin() == 0 and batch["y"].amax() == 1
    method.decoder = Gives(lambda x, features: x)
    terms = method.loss(batch)
    assert terms["image"] == terms["copied"] == 0 < terms["flat"]


def test_a_crop_gets_one_deformation():
    x = torch.rand(2000, 1, 20, 20, 4, generator=generator())

    def changed(rates, count=2000):
        """Return the share of each crop's voxels that differ."""
        params = params_of(NAME, **{**STILL, "bezier_points": 99, "scale_unit": "none", **rates})
        return (params.deformed(x[:count], generator()) != x[:count]).flatten(1).double().mean(1)

    local, curve, inner, outer = (changed({rate: 1.0}, 200) for rate in RATES)
    assert 0 < local.mean() < 0.02  # five windows of 1 or 2 voxels a side
    assert curve.min() > 0.99
    voxels = (1600 * inner).round().unique().tolist()  # of one box, sides 3 to 6 and 1
    assert voxels == [9, 12, 15, 16, 18, 20, 24, 25, 30, 36]
    kept = (1600 * (1 - outer)).round()  # sides 9 to 12, and 2 or 3
    assert kept.min() >= 9 * 9 * 2 and kept.max() <= 12 * 12 * 3
    both = changed({"inpaint_rate": 0.3, "outpaint_rate": 0.5})
    found = [both == 0, (both > 0) & (both < 0.1), both > 0.5]
    assert [f.double().mean().item() for f in found] == pytest.approx([0.2, 0.3, 0.5], abs=0.04)
    assert changed({"inpaint_rate": 1.0, "boxes": 4}, 200).mean() > 2 * inner.mean()


def test_the_elastic_transform_is_scipys():
    noise = torch.rand(2, 2, 12, 9, 6, generator=generator(), dtype=torch.float64) * 2 - 1
    x = torch.rand(2, 3, 12, 9, 6, generator=generator(1), dtype=torch.float64)
    found = functions_of(NAME).displaced(x, noise, 40.0, 1.5).numpy()
    for row in range(2):
        fields = [gaussian_filter(n, 1.5, mode="constant", cval=0) * 40 for n in noise[row].numpy()]
        i, j, k = np.meshgrid(*map(np.arange, (12, 9, 6)), indexing="ij")
        assert max(np.abs(f).max() for f in fields) > 3  # some reach beyond the border
        for channel in range(3):
            at = (i + fields[0], j + fields[1], k)
            expected = map_coordinates(x[row, channel].numpy(), at, order=1, mode="reflect")
            assert np.abs(found[row, channel] - expected).max() < 1e-9


@pytest.mark.parametrize("undo", [True, False])
def test_whether_the_warp_is_to_be_undone(undo):
    method = build(NAME, {**STILL, "elastic_rate": 1.0, "undo_elastic": undo})
    raw = raw_of(method)
    batch, still = view(method, raw), view(build(NAME, STILL), raw)
    assert torch.equal(batch["y"], batch["x"]) is not undo
    assert torch.equal(batch["y"], still["y"]) is undo
    assert not torch.equal(batch["x"], still["y"])


def test_scale_unit_says_in_which_units_a_crop_is_restored():
    raw = raw_of(build(NAME))
    for unit in ("deform", "none", "crop"):
        params = params_of(NAME, **{"scale_unit": unit, "sigmoid": False, "nonlinear_rate": 0.0})
        batch = params.views(raw, (16, 16, 16), generator())
        assert torch.allclose(batch["y"], raw["crop"], atol=1e-5) is (unit != "crop")
        low, high = batch["x"].flatten(1).aminmax(dim=1)
        assert bool((low >= -1e-5).all() and (high <= 1 + 1e-5).all()) is (unit == "crop")


# loss


def test_renaming_the_words_leaves_the_loss():
    method, order = build(NAME), torch.randperm(44, generator=generator())
    batch = batch_of(method)
    before = method.loss(batch)
    last, place = method.head[-1], order.argsort()
    with torch.no_grad():
        last.weight.copy_(last.weight[place].clone()), last.bias.copy_(last.bias[place].clone())
    after = method.loss({**batch, "word": order[batch["word"]]})
    agree(after, **before)


def test_each_head_is_trained_by_its_own_term_and_the_encoder_by_both():
    method = build(NAME)
    terms = method.loss(batch_of(method))
    for name, own in (("word", "head"), ("image", "decoder")):
        method.zero_grad()
        terms[name].backward(retain_graph=True)
        assert reached(method) == {"encoder", own}


def test_words_alone_go_first_for_a_share_of_the_steps():
    method, joint = build(NAME, {"warm": 0.5}), []
    for k in range(4):
        joint.append(bool(method.joint))
        method.after_step(k / 4)
    assert [*joint, bool(method.joint)] == [False, False, False, True, True]
    again = build(NAME, {"warm": 0.5})
    again.load_state_dict(method.state_dict())
    assert bool(again.joint)


# refusals


def test_refuses_data_without_a_task():
    params = params_of(NAME, **{"tasks": 2})
    for task in (None, 0, 3):
        with pytest.raises(BenchError, match="write 'task: N', with N from 1 to 2"):
            params.check_data([SimpleNamespace(dataset="a", task=task)])
    params.check_data([SimpleNamespace(dataset="a", task=2)])
    params_of(NAME, **{}).check_data([SimpleNamespace(dataset="a", task=None)])
