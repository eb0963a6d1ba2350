"""JSSL on one encoder: slices, volumes and masked slices."""

from math import ceil

import pytest
import torch
from small_methods import agree, build, functions_of, reached, tried
from torch.nn import functional

from bench import distributed, registry

CODE = registry.load("method", "jssl")


def slices(method, batch):
    return method.slices(method.encoder(batch["views"].flatten(0, 1)))


def test_a_slice_is_a_unit_vector_of_each_map_averaged_in_plane():
    averaged = functions_of("jssl").averaged
    x = torch.randn(2, 3, 4, 5, 8)
    expected = functional.normalize(x.mean((2, 3)).unflatten(2, (4, 2)).mean(3), dim=1)
    assert torch.allclose(averaged(x, 4), expected, atol=1e-6)
    coarse = averaged(x[..., :2], 8)  # of a map with fewer
    assert torch.allclose(coarse[..., :4], coarse[..., :1].expand(-1, -1, 4))
    assert torch.allclose(averaged(3 * x, 4), expected, atol=1e-6)


@pytest.mark.parametrize(("ratio", "count", "masked"), [(0.1, 8, 1), (0.1, 64, 7), (0.5, 8, 4)])
def test_both_views_lose_the_same_slices_rounded_up(ratio, count, masked):
    params = CODE.make_params({"mask_ratio": ratio, "slices": count})
    made = params.views(
        {"crop": torch.rand(50, 1, 4, 4, 64)}, (4, 4, 64), torch.Generator().manual_seed(0)
    )
    assert made["masked"].shape == (50, count) and masked == ceil(ratio * count)
    assert (made["masked"].sum(1) == masked).all()
    assert len(made["masked"].unique(dim=0)) > 7 and made["masked"].any(0).float().mean() > 0.9


def test_all_weights_together_are_their_sum_and_in_turn_one_third_of_the_run_each():
    weights = {"intra_weight": 2.0, "mask_weight": 3.0, "inter_weight": 0.5}
    method, batch = tried("jssl", weights)
    terms = method.loss(batch)
    expected = 2 * terms["intra"] + 3 * terms["mask"] + 0.5 * terms["inter"]
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-6)
    method, batch = tried("jssl", {**weights, "in_turn": True})
    for progress, name in (
        (0.0, "intra"),
        (0.3, "intra"),
        (0.4, "mask"),
        (0.7, "inter"),
        (1.0, "inter"),
    ):
        method.progress.fill_(progress)
        terms = method.loss(batch)
        expected = weights[f"{name}_weight"] * terms[name].item()
        assert terms["total"].item() == pytest.approx(expected, rel=1e-6)


def test_volumes_and_slices_are_clustered_and_a_mirrored_views_slices_face_their_own():
    method, batch = tried("jssl")
    batch["flipped"] = torch.tensor([[False, True], [False, False], [True, True], [True, False]])
    s = slices(method, batch)
    v = functional.normalize(method.transformer(s + method.places).mean(1), dim=1)
    rows = [
        row.flip(0) if there else row
        for row, there in zip(s, batch["flipped"].flatten(), strict=True)
    ]
    unit = functional.normalize(torch.stack(rows), dim=2)
    terms = method.loss(batch)
    inter, _ = method.clusters["inter"](v[::2], v[1::2])
    intra, _ = method.clusters["intra"](unit[::2].flatten(0, 1), unit[1::2].flatten(0, 1))
    agree(terms, inter=inter, intra=intra)
    batch["flipped"] = ~batch["flipped"]
    batch["flipped"][1, 0] = False
    assert method.loss(batch)["intra"].item() != pytest.approx(intra.item(), rel=1e-5)


def test_masked_slices_are_told_from_the_others_alone():
    method, batch = tried("jssl", {"mask_ratio": 0.5})
    s = slices(method, batch).detach()
    hidden = batch["masked"].repeat_interleave(2, 0)
    told = method.restore(method.mixed(torch.where(hidden[..., None], method.token, s)))
    errors = (told - s).square().mean(2)
    agree(method.loss(batch), mask=errors[hidden].mean())
    everywhere, _ = tried("jssl", {"mask_ratio": 0.5, "mask_on": "all"})
    assert everywhere.loss(batch)["mask"].item() == pytest.approx(errors.mean().item(), rel=1e-5)
    method.token.data += 1
    assert method.loss(batch)["mask"].item() != pytest.approx(
        errors[hidden].mean().item(), rel=1e-5
    )
    method.transformer, method.restore = torch.nn.Identity(), torch.nn.Identity()
    method.places.zero_()
    method.params = method.make_params({"mask_on": "all"})
    batch["masked"] = torch.zeros_like(batch["masked"])
    assert method.loss(batch)["mask"].item() == 0  # a perfect copy


def test_batch_norm_spreads_the_volumes_of_a_fresh_network():
    spread = {}
    for norm in ("batch", "none"):
        method, batch = tried("jssl", {"norm": norm}, 8)
        spread[norm] = method.loss(batch)["std"].item()
    assert spread["batch"] > 5 * spread["none"]


def test_positions_tell_masked_slices_apart():
    s = torch.randn(2, 8, 32)
    for kind, apart in (("sines", True), ("none", False)):
        method = build("jssl", {"positions": kind})
        mixed, turned = method.mixed(s), method.mixed(s.flip(1)).flip(1)
        assert torch.allclose(mixed, turned, atol=1e-5) is not apart


def test_prototypes_wait_and_the_memory_listens_later():
    method, batch = tried("jssl", {"still": 2, "queue_start": 0.5})
    memory = method.clusters["inter"].queues[0]
    before = memory.keys.clone()
    for step, moves in enumerate((False, False, True)):
        method.zero_grad()
        method.loss(batch)["total"].backward()
        assert (method.clusters["inter"].weight.grad is not None) is moves, step
        method.after_step(0.1)
    assert torch.equal(memory.keys, before) and method.steps == 3
    method.loss(batch)
    method.after_step(0.5)
    assert not torch.equal(memory.keys[:4], before[:4]) and torch.equal(memory.keys[4:], before[4:])
    assert method.clusters["intra"].full and method.progress == 0.5


@pytest.mark.parametrize("kind", ["swav", "deepcluster"])
def test_either_clustering_learns_and_its_memory_holds_all_processes_rows(kind, monkeypatch):
    method, batch = tried("jssl", {"clustering": kind, "queue_start": 1.0})
    monkeypatch.setattr(distributed, "gather", lambda x: torch.cat([x, x]))
    method.loss(batch)["total"].backward()
    assert reached(method) >= {"encoder", "clusters"}
    method.after_step(0.0)
    memory = method.clusters["inter"].queues[0]
    if kind == "swav":
        assert not method.clusters["inter"].full
    else:  # its centres need a memory at once
        assert torch.equal(memory.keys[:4], memory.keys[4:]) and method.clusters["inter"].full
