"""PCRL: how targets are turned, what is mixed with what, what is queued, and what attention changes."""

import sys
from copy import deepcopy

import pytest
import torch
from small_methods import batch_of, build, raw_of, stepped, tiny, tried, view

from bench import registry

CODE = registry.load("method", "pcrlv1")
MODULE = sys.modules[CODE.__module__]
STILL = {"flip": 0.0, "degrees": 0.0, "zoom": 0.0, "blur_sigma": (0.0, 0.0)}
CLEAN = {**STILL, "local_rate": 0.0, "paint_rate": 0.0}
NCE = {"contrast": "nce", "nce_samples": 100}


def shared(batch, *shares):
    return {**batch, "share": torch.tensor(shares).expand(len(batch["x"]), -1)}


def spied(method, monkeypatch):
    """Return what is contrasted, what the decoder reads, and the errors of what it restores."""
    pairs, read, errors = [], [], []
    contrasted, squared = method.contrasted, MODULE.squared
    method.contrasted = lambda found: pairs.extend(found) or contrasted(found)
    method.decoder.register_forward_pre_hook(lambda module, given: read.append(given))
    monkeypatch.setattr(
        MODULE, "squared", lambda *given: errors.append(squared(*given)) or errors[-1]
    )
    return pairs, read, errors


def test_a_target_is_its_input_turned_as_the_code_says():
    method = build("pcrlv1")
    seen = set()
    for seed in range(12):
        batch = view(method, raw_of(method), seed)
        x, goal, code = (batch[k].flatten(0, 1) for k in ("x", "goal", "code"))
        assert (code[:, 3:].sum(1) == 1).all()
        for one, two, said in zip(x, goal, code.long().tolist(), strict=True):
            mirrored = one.flip([axis + 1 for axis in range(3) if said[axis]])
            assert torch.equal(torch.rot90(mirrored, said[3:].index(1), (1, 2)), two)
            seen.add(tuple(said))
    assert len(seen) > 25  # of 32, in 96 draws


def test_a_crop_that_is_not_square_is_turned_by_halves_alone():
    method = build("pcrlv1", network=tiny(crop=(16, 32, 16), out=1))
    code = batch_of(method)["code"].flatten(0, 1)
    assert not code[:, [4, 6]].any() and code[:, 5].any()


def test_clean_crops_are_scaled_together_and_nothing_else_where_all_is_off():
    method, batch = tried("pcrlv1", CLEAN)
    raw = raw_of(method)["pair"]
    assert torch.allclose(batch["x"], batch["clean"], atol=1e-4)
    assert batch["clean"].flatten(1).amin(1).eq(0).all()
    assert batch["clean"].flatten(1).amax(1).eq(1).all()
    a, b = raw.flatten(1), batch["clean"].flatten(1)
    low, high = a.amin(1, keepdim=True), a.amax(1, keepdim=True)
    assert torch.allclose(b * (high - low) + low, a, atol=1e-5)
    _, spoilt = tried("pcrlv1")
    assert not torch.allclose(spoilt["x"], batch["clean"], atol=0.1)


def test_both_crops_are_painted_in_the_same_way():
    method = build("pcrlv1", {**CLEAN, "paint_rate": 1.0, "inpaint_rate": 0.5})
    outer = []
    for seed in range(6):
        batch = view(method, raw_of(method), seed)
        # noise reaches the corners where it is painted around boxes
        corners = (batch["x"] != batch["clean"])[..., :2, :2, :2].flatten(2).all(2)
        assert (corners[:, 0] == corners[:, 1]).all()
        outer += corners[:, 0].tolist()
    assert 4 < sum(outer) < 20


def test_the_larger_share_is_the_own_and_all_rows_have_the_same():
    method = build("pcrlv1")
    shares = torch.stack([view(method, raw_of(method), seed)["share"] for seed in range(40)])
    assert (shares == shares[:, :1]).all() and shares.amin() >= 0.5 and shares.amax() <= 1
    assert shares.mean().item() == pytest.approx(0.75, abs=0.05)  # max(u, 1 - u)


def test_rows_are_mixed_with_those_of_an_order():
    rows = torch.tensor([1.0, 10.0, 100.0])[:, None]
    # with rows 2, 0, 1
    found = MODULE.mixed_up(rows, torch.tensor([0.5, 0.9, 0.1]), torch.tensor(0.75))
    assert found[:, 0].tolist() == [25.75, 7.75, 77.5]


def test_queries_are_contrasted_with_keys_of_mixed_crops_and_with_mixed_keys(monkeypatch):
    method, batch = tried("pcrlv1")
    pairs, read, _ = spied(method, monkeypatch)
    batch = shared(batch, 0.6, 0.7, 0.8)
    method.loss(batch)
    (_, key), (query, other), (same, mixed) = pairs
    x = MODULE.mixed_up(batch["x"], batch["order"], torch.tensor(0.7))
    assert same is query and not any(k.requires_grad for _, k in pairs)
    assert torch.allclose(query, MODULE.embedded(method, x[:, 0])[0])
    assert torch.allclose(other, MODULE.embedded(method.slow, x[:, 1])[0])
    assert torch.allclose(mixed, 0.7 * key + 0.3 * key[batch["order"].argsort()])
    # what a decoder of the image reads
    assert torch.allclose(read[2][0], 0.8 * x[:, 0] + 0.2 * x[:, 1])


@pytest.mark.parametrize(
    ("params", "contrasts", "restored"),
    [
        ({}, 3, 4),
        ({"mixup": False}, 1, 2),
        ({"hybrid": False}, 3, 2),
        ({"mixup": False, "hybrid": False, "contrast_weight": 2.0, "restore_weight": 0.5}, 1, 1),
    ],
)
def test_terms_are_means_of_what_is_asked_for(monkeypatch, params, contrasts, restored):
    method, batch = tried("pcrlv1", params)
    pairs, read, errors = spied(method, monkeypatch)
    terms = method.loss(batch)
    assert (len(pairs), len(read), len(errors)) == (contrasts, restored, restored)
    assert method.params.decoded_per_sample == restored
    assert terms["restore"].item() == pytest.approx(torch.stack(errors).mean().item())
    p = method.params
    told = p.contrast_weight * terms["contrast"] + p.restore_weight * terms["restore"]
    assert terms["total"].item() == pytest.approx(told.item())


def test_of_a_share_of_one_mixed_maps_are_the_querys_own(monkeypatch):
    method, batch = tried("pcrlv1")
    _, _, errors = spied(method, monkeypatch)
    method.loss(shared(batch, 1.0, 1.0, 1.0))
    hybrid, plain, mixed_hybrid, mixed = (e.item() for e in errors)
    assert hybrid == pytest.approx(plain, abs=1e-6)
    assert mixed_hybrid == pytest.approx(mixed, abs=1e-6)
    errors.clear()
    method.loss(shared(batch, 0.5, 1.0, 0.5))
    assert errors[2].item() != pytest.approx(mixed, abs=1e-5)
    assert errors[3].item() == pytest.approx(mixed)


@pytest.mark.parametrize(
    ("kind", "moved"), [("channel", [True] * 2 + [False] * 2), ("none", [False] * 4)]
)
def test_the_code_reaches_turned_targets_alone_and_through_attention(monkeypatch, kind, moved):
    method, batch = tried("pcrlv1", {"attention": kind})
    pairs, _, errors = spied(method, monkeypatch)
    for code in (batch["code"], 1 - batch["code"]):
        method.loss({**batch, "code": code})
    assert [a.item() != b.item() for a, b in zip(errors[:4], errors[4:], strict=True)] == moved
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(pairs[:3], pairs[3:], strict=True))


def test_attention_weighs_the_last_map_of_both_encoders_each_by_its_own_code(monkeypatch):
    method, batch = tried("pcrlv1", {"mixup": False})
    _, read, _ = spied(method, monkeypatch)
    method.loss(shared(batch, 0.6, 1.0, 1.0))
    (_, hybrid), (_, plain) = read
    fast, slow = (s.encoder(batch["x"][:, i]) for i, s in enumerate((method, method.slow)))
    one, two = method.attention(batch["code"]).sigmoid()[..., None, None, None].unbind(1)
    assert torch.allclose(plain[-1], fast[-1] * one, atol=1e-6)
    assert torch.allclose(plain[0], fast[0])
    assert torch.allclose(hybrid[-1], 0.6 * fast[-1] * one + 0.4 * slow[-1] * two, atol=1e-6)
    assert torch.allclose(hybrid[0], 0.6 * fast[0] + 0.4 * slow[0], atol=1e-6)


@pytest.mark.parametrize(("queued", "kept"), [("plain", 1), ("all", 3)])
def test_a_step_queues_its_keys_and_then_moves_the_copy(monkeypatch, queued, kept):
    method, batch = tried("pcrlv1", {"queued": queued, "momentum": 0.75, "queue": 16})
    asked, rows, cosines = [], len(batch["x"]), MODULE.queue_cosines
    monkeypatch.setattr(
        MODULE, "queue_cosines", lambda *given: asked.append(given) or cosines(*given)
    )
    before, encoder = method.queue.keys.clone(), deepcopy(method.slow.encoder)
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(0.1)
    method.loss(batch)
    assert torch.equal(method.queue.keys, before) and method.queue.at == 0
    pairs = [torch.nn.functional.normalize(key, dim=1) for _, key, _ in asked]
    for number, (_, _, vectors) in enumerate(
        asked
    ):  # the code's keys are negatives of the next contrast
        own = rows * number if queued == "all" else 0
        assert torch.allclose(vectors, later(pairs, before, own), atol=1e-6)
    method.after_step(0.0)
    assert method.queue.at == kept * rows % 16
    assert (method.queue.notes[: kept * rows] >= 0).any(1).all()
    assert torch.allclose(method.queue.keys, later(pairs, before, kept * rows), atol=1e-6)
    three = (m.parameters() for m in (method.slow.encoder, encoder, method.encoder))
    for p, q, r in zip(*three, strict=True):
        assert torch.allclose(p, 0.75 * q + 0.25 * r, atol=1e-6)


def later(keys, before, count):
    return torch.cat([torch.cat(keys)[:count], before[count:]])


def test_the_scale_of_noise_contrast_is_the_first_batchs():
    method, batch = tried("pcrlv1", {**NCE, "mixup": False, "queue": 16})
    first = method.loss(batch)
    assert method.scale == -1 and method.loss(batch)["total"] == first["total"]
    query, _ = MODULE.embedded(method, batch["x"][:, 0])
    key, _ = MODULE.embedded(method.slow, batch["x"][:, 1])
    own, other = MODULE.queue_cosines(query, key, method.queue.keys)
    every = torch.cat([own[:, None], other], dim=1) / 0.2
    method.after_step(0.0)
    scale = method.scale.item()
    assert scale == pytest.approx(100 * every.exp().mean().item(), rel=1e-5)
    method.loss(view(method, raw_of(method), 5))
    method.after_step(0.0)
    assert method.scale.item() == scale


def test_two_processes_queue_and_scale_as_one_does(pair):
    method, batch = tried("pcrlv1", {**NCE, "queued": "all"})
    method, batch = method.double(), {k: v.double() for k, v in batch.items()}
    whole = stepped(deepcopy(method), batch)
    for part in pair(stepped, method, batch):
        for a, b in zip(part, whole, strict=True):
            torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)
