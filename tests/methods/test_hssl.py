"""HSSL: four losses by hand, what reaches which part, Table 4's switches, and that it learns."""

import numpy as np
import pytest
import torch
from small_methods import Gives, agree, batch_of, build, raw_of, read, smooth, view

from bench import registry
from bench.data.parts import Entry
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.pretext.pyramid import PyramidVector
from bench.protocol.mixture import mixture

PARTS = ("image", "task", "group", "rec")
CLS = registry.load("method", "hssl")


def only(*parts, **other):
    """Parameters in which these parts have their weight and the others none."""
    return {f"{p}_weight": 0.0 for p in PARTS if p not in parts} | other


def test_the_paper_has_eight_tasks_in_four_groups():
    parts = mixture("hssl_8_tasks").datasets
    assert [p.group for p in sorted(parts, key=lambda p: p.task)] == [1, 2, 3, 2, 2, 4, 1, 1]


def test_a_perfect_restoration_has_a_finite_gradient_in_each_form():
    for rec in ("mse", "l2norm", "sse"):
        method = build("hssl", only("rec", rec=rec))
        image = torch.full((4, 1, 32, 32, 1), 0.5, requires_grad=True)
        method.decoder = Gives(image)
        method.loss({"views": torch.full((2, 2, 1, 32, 32, 1), 0.5)})["total"].backward()
        assert torch.isfinite(image.grad).all()


def test_classes_are_counted_from_one_and_each_view_has_its_slices():
    method = build("hssl", only("task"))
    task = torch.tensor([1, 8, 3])
    logits = torch.zeros(6, 8)
    logits[torch.arange(6), (task - 1).repeat_interleave(2)] = 100.0
    method.classifiers["task"] = Gives(logits)
    batch = {"views": torch.rand(3, 2, 1, 32, 32, 1), "task": task}
    terms = method.loss(batch)
    assert terms["task"].item() == pytest.approx(0, abs=1e-6) and terms["task_accuracy"].item() == 1
    swapped = method.loss({**batch, "task": task[[1, 0, 2]]})
    agree(swapped, task=200 / 3, task_accuracy=1 / 3)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"pyramid_levels": 1, "compress": 0, "batch_norm": True}, {}),
        ({"batch_norm": True, "temperature": 0.5}, {"multi_scale_head": True, "temperature": 0.5}),
    ],
)
def test_the_image_level_alone_is_simclr_up_to_its_factor(mine, theirs):
    hssl = build("hssl", only("image", **mine))
    simclr = build("simclr2d", theirs)
    alike = {k: v for k, v in hssl.state_dict().items() if not k.startswith("decoder.")}
    simclr.load_state_dict(alike)  # strictly: no key more, and none less
    batch = batch_of(hssl)
    twin = batch_of(simclr)
    assert torch.equal(batch["views"], twin["views"])
    exact = {"views": batch["views"].double()}
    a, b = hssl.double().loss(exact)["total"], simclr.double().loss(exact)["total"]
    # lambda 1 times the sum over pairs
    assert a.item() == pytest.approx(b.item() * 2 / 3, rel=1e-12)
    a.backward()
    b.backward()
    theirs = dict(simclr.named_parameters())
    for key, p in hssl.named_parameters():
        if key in theirs:
            torch.testing.assert_close(p.grad, theirs[key].grad * 2 / 3, rtol=1e-9, atol=1e-12)


def test_raw_slices_are_classified_and_restored_where_that_is_asked():
    method = build("hssl", {"aux_input": "raw"})
    raw = raw_of(method)
    batch = view(method, raw)
    assert torch.equal(batch["raw"], raw["crop"])
    seen = {}
    method.decoder.register_forward_hook(lambda m, given, out: seen.update(x=given[0]))
    terms = method.loss(batch)
    assert torch.equal(seen["x"], raw["crop"])
    swapped = {**batch, "views": torch.randn_like(batch["views"])}
    other = method.loss(swapped)
    for same in ("task", "group", "rec"):
        assert terms[same].item() == other[same].item()
    assert terms["image"].item() != other["image"].item()
    assert CLS.Params(aux_input="raw").crops_per_sample == 3 and CLS.Params().crops_per_sample == 2


def data(**over):
    first = Entry(part="all", dataset="one", task=1, group=1)
    return [first, Entry(**{"part": "all", "dataset": "two", "task": 8, "group": 4, **over})]


def test_a_mixture_must_name_the_classes_that_are_learned():
    params = CLS.make_params({})
    params.check_data(data())
    for key, word in (("task", "no task class"), ("group", "no group class")):
        lacking = data(**{key: None})
        message = f"'two' of the mixture has {word}; write '{key}: N', with N from 1 to"
        with pytest.raises(BenchError, match=message):
            params.check_data(lacking)
        CLS.make_params({f"{key}_weight": 0.0}).check_data(lacking)
    for over in ({"task": 9}, {"task": 0}, {"group": 5}):
        with pytest.raises(BenchError, match=r"'two' of the mixture has (task|group) class"):
            params.check_data(data(**over))
    CLS.make_params({"tasks": 9}).check_data(data(task=9))


def test_labels_that_nobody_learns_need_not_be_there():
    method = build("hssl", only("image", "rec"))
    raw = {"crop": raw_of(method)["crop"]}
    assert torch.isfinite(method.loss(view(method, raw))["total"])


def test_a_vector_of_some_levels_takes_the_coarsest():
    maps = [torch.full((2, c, 4, 4, 1), float(c)) for c in (2, 3, 5)]
    assert PyramidVector((2, 3, 5))(maps).shape == (2, 10)
    assert PyramidVector((2, 3, 5), levels=2)(maps)[0].tolist() == [3.0] * 3 + [5.0] * 5
    assert PyramidVector((2, 3, 5), compress=7)(maps).shape == (2, 21)


def domains(count, first):
    """Slices of four tasks in two groups: a group has its grain, a task its contrast; each its own field."""
    made = []
    for i in range(count):
        task, rng = i % 4, np.random.default_rng(first + i)
        grain = (1.2, 3.5)[task // 2]
        field = smooth((48, 48, 8), grain, first + i) * (0.6, 1.6)[task % 2]
        made.append(Volume((field + rng.uniform(-0.6, 0.6))[None].astype(np.float32)))
    return made


def labelled(method, scans, seed):
    batch = read(method, scans, seed)
    task = torch.arange(len(scans)) % 4
    return {**batch, "task": task + 1, "group": task // 2 + 1}


@pytest.mark.slow
def test_learns_every_level_on_unseen_slices():
    scans, held_out = domains(32, 1), domains(16, 500)
    method = build("hssl", {"tasks": 4, "groups": 2, "area": [0.3, 1.0]})

    @torch.no_grad()
    def figures():
        tests = [
            method.loss(view(method, labelled(method, held_out, s), s)) for s in range(901, 907)
        ]
        return {k: np.mean([t[k].item() for t in tests]) for k in tests[0]}

    before = figures()
    moved = torch.optim.Adam(method.parameters(), 1e-3)
    for k in range(200):
        chosen = torch.randperm(8, generator=torch.Generator().manual_seed(k))[:3].tolist()
        rows = [4 * i + t for i in chosen for t in range(4)]
        batch = view(method, labelled(method, [scans[i] for i in rows], k), k)
        moved.zero_grad()
        method.loss(batch)["total"].backward()
        moved.step()
    after = figures()
    assert after["retrieval"] > 2.5 / 31
    assert after["retrieval"] > 1.25 * before["retrieval"]
    assert after["task_accuracy"] > 0.5 > 0.25  # chance: one in four
    assert after["group_accuracy"] > 0.75
    assert after["rec"] < 0.25 * before["rec"]
    assert after["std"] > 0.3 / 32**0.5
