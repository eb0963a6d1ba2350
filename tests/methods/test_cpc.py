"""Predictive coding of cubes and slices: what is seen by whom, what is compared, what cannot be learned."""

from math import log

import pytest
import torch
from seeded import generator
from small_methods import MAPS, agree, build
from torch import nn

from bench import distributed, registry

CODE = registry.load("method", "cpc3d")
FULL = {"patches_per_side": 4, "boundary": "reflect"}
PLAIN = {"crop_frac": 1.0, "patch_crop_frac": 1.0, "patch_flip": 0.0}
VOXEL = (1, 1, 1)  # patches of one voxel: what a patch holds is a number


class Number(nn.Module):
    """Stands in for an encoder: embeds a patch as its mean and what a small network makes of it."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width))

    def embed(self, x):
        return self.layers(x.flatten(1).mean(1, keepdim=True))


def numbered(params=None, seed=0):
    """Return a method whose encoder sees one number of each patch."""
    method = build("cpc3d", {**FULL, **PLAIN, "overlap": 0.0, **(params or {})}, seed)
    torch.manual_seed(seed)
    method.encoder, method.crop = Number(method.code.in_features), VOXEL
    return method


def cubes(method, rows=2, seed=0, columns=False):
    """Return views of 4 x 4 x 4 random numbers, alike in each column if wanted."""
    x = torch.rand((rows, 1, 1 if columns else 4, 4, 4), generator=generator(seed)).expand(
        rows, 1, 4, 4, 4
    )
    return method.views({"window": x.round(decimals=1) if columns else x}, generator(seed))


def test_a_sample_is_all_patches_of_its_grid_and_costs_as_much():
    params = CODE.make_params(PLAIN)
    window = params.window((4, 6, 2))
    assert window == (10, 15, 5) and params.crops_per_sample == 64
    x = torch.rand(2, 1, *window)
    patches = params.views({"window": x}, (4, 6, 2), generator())["patches"]
    assert patches.shape == (2, 64, 1, 4, 6, 2)
    i, j, k = 2, 1, 3
    assert torch.equal(patches[:, (i * 4 + j) * 4 + k], x[:, :, 4:8, 3:9, 3:5])
    # GRU: 160 steps of 3 (1024 + 256) 256; predictions: 32 of 256 x 1024; scores: 32 x 32 of 1024
    assert params.head_flops((4, 6, 2), MAPS) == 2 * (160 * 983_040 + 32 * 262_144 + 1024 * 1024)


@pytest.mark.parametrize(
    ("params", "cost", "found"),
    [
        ({}, log(32), 1 / 32),
        ({"other_rows": False}, log(16), 1 / 16),
        ({"negatives": "batch"}, log(64), 1 / 64),
        ({"negatives": "batch", "other_rows": False}, log(32), 1 / 32),
        ({"skip_row": True}, log(16), 1 / 16),
        ({"temperature": 0.1}, log(32), 1 / 32),
        ({"loss": "bce_code"}, log(2), 1 / 32),
    ],
)
def test_codes_that_are_all_alike_cost_the_logarithm_of_the_candidates(params, cost, found):
    method = numbered(params)
    nn.init.zeros_(method.code.weight)
    if (
        method.params.loss == "bce_code"
    ):  # any other constant score costs more, as labels are balanced
        nn.init.zeros_(method.predict.weight), nn.init.zeros_(method.predict.bias)
    terms = method.loss(cubes(method))
    assert terms["total"].item() == pytest.approx(cost, rel=1e-5)
    assert terms["found"].item() == pytest.approx(found) and terms["std"] == 0
    if method.params.loss == "bce_code":
        assert terms["told"] == 0.5


def test_every_prediction_is_compared_with_all_patches_below_by_hand():
    method = numbered()
    batch = cubes(method)
    z = method.code(method.encoder.embed(batch["patches"].flatten(0, 1))).unflatten(0, (2, 64))
    cost = []
    for column in range(16):
        _, state = method.context(z[:, method.params.indices[1][column]])
        for row, made in enumerate(method.predict(state[0]).chunk(2, dim=1)):
            scores = (made[:, None] * z[:, 32:]).sum(2)
            cost.append(scores.logsumexp(1) - scores[:, 16 * row + column])
    agree(method.loss(batch), total=torch.stack(cost).mean())


def test_the_order_of_the_context_matters():
    method = numbered()
    batch = cubes(method)
    first = method.loss(batch)["total"]
    swapped = torch.arange(64)
    swapped[[0, 1]] = torch.tensor([1, 0])  # two patches of the top row, which are no targets
    assert (first - method.loss({"patches": batch["patches"][:, swapped]})["total"]).abs() > 1e-6


@pytest.mark.parametrize("params", [{}, {"negatives": "batch"}, {"loss": "bce_code"}])
def test_gradient_reaches_the_encoder_through_what_is_known_and_what_is_predicted(params):
    method = numbered(params)
    batch = cubes(method)
    batch["patches"].requires_grad_()
    method.loss(batch)["total"].backward()
    assert (batch["patches"].grad.flatten(2).abs().sum(2) > 0).all()


def test_a_batch_of_two_parts_is_compared_as_a_whole(monkeypatch):
    """What a process gathers are the candidates of all; its own are those of its rows."""
    method = numbered({"negatives": "batch"})
    batch = {**cubes(method, 4), "origin": torch.tensor([0, 1, 0, 1])}
    whole = method.loss(batch)
    parts = []
    for rank in range(2):
        rest = iter(gathered(method, batch))
        monkeypatch.setattr(distributed, "gather", lambda x, rest=rest: next(rest))
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(method.loss({k: v[2 * rank : 2 * rank + 2] for k, v in batch.items()}))
        monkeypatch.undo()
    for term in whole:
        mean = (parts[0][term] + parts[1][term]) / 2
        assert mean.item() == pytest.approx(whole[term].item(), rel=1e-5, abs=1e-6), term


def gathered(method, batch):
    """Return what ``loss`` gathers, in order."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "gather", lambda x: kept.append(x) or x)
        method.loss(batch)
    return kept


def test_columns_of_one_number_are_told_and_noise_is_not():
    """What the context says about the rows below is learned; where it says nothing, nothing is."""
    found = {}
    for columns in (True, False):
        method = numbered({"temperature": 0.5})
        moved = torch.optim.Adam(method.parameters(), 1e-2)
        for step in range(60):
            moved.zero_grad()
            method.loss(cubes(method, 4, step, columns))["total"].backward()
            moved.step()
        with torch.no_grad():
            found[columns] = method.loss(cubes(method, 64, 1000, columns))["found"].item()
    assert found[False] == pytest.approx(1 / 32, abs=0.02)
    assert found[True] > 0.15  # both rows of a column are alike, and some of ten numbers come twice


def test_chance_knows_intensities_and_where_a_scan_comes_from():
    """Both patches below are as the current one, so either is taken half of the time."""
    method = numbered({"negatives": "batch"})
    x = torch.arange(16.0).view(1, 1, 1, 4, 4).expand(2, 1, 4, 4, 4)  # two scans that are alike
    batch = method.views({"window": x}, generator())
    chance = [method.loss({**batch, "origin": torch.tensor(o)})["chance"] for o in ([0, 0], [0, 1])]
    assert [c.item() for c in chance] == pytest.approx([1 / 4, 1 / 2])


SLICES = registry.load("method", "cpc2d")


def test_the_row_below_is_not_looked_at_and_zeros_come_last():
    params = SLICES.make_params({"patch_crop_frac": 1.0})
    window = params.window((4, 4, 1))
    assert window == (12, 12, 1) and params.crops_per_sample == 21
    x = torch.rand(2, 3, *window) + 1
    patches = params.views({"window": x}, (4, 4, 1), generator())["patches"]
    assert patches.shape == (2, 21, 3, 4, 4, 1) and not patches[:, 20].any()
    rows = [0, 2, 6, 8]  # of five two voxels apart
    for place, (a, b) in enumerate((a, b) for a in rows for b in range(0, 10, 2)):
        assert torch.equal(patches[:, place], x[:, :, a : a + 4, b : b + 4])
    _, known, wanted = params.indices
    assert known[0].tolist() == [-1, 0, 1, 5] and wanted[0].tolist() == [10, 15]


def test_patches_of_slices_lose_a_twelfth_and_are_not_mirrored():
    params = SLICES.make_params({})
    window = params.window((24, 24, 1))
    x = torch.arange(window[0]).float().view(1, 1, -1, 1, 1).expand(1, 1, *window) + 1
    patches = params.views({"window": x}, (24, 24, 1), generator())["patches"][:, :-1]
    seen = patches[:, :, 0, 1:23, 1:23, 0]
    assert (patches == 0).sum() == patches.numel() - seen.numel()
    assert (seen.diff(dim=2) == 1).all()


def test_zeros_reach_the_context_of_the_border_alone():
    method = build("cpc2d")
    _, known, _ = method.params.indices
    assert ((known == -1).sum(1) > 0).tolist() == [True, False, False, True]
