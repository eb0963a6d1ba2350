"""Short trainings on scans of known structure: the figure on unseen scans leaves chance, and collapse, behind."""

from math import log

import numpy as np
import pytest
from small_methods import build, fitting, shown, smooth, textured, train, volumes

from bench.data.reader import Volume

pytestmark = pytest.mark.slow
CUBE, FLAT = (16, 16, 16), (32, 32, 16)
LOOK = {"shape": (48, 48, 8), "grains": (0.8, 5), "contrast": (0.5, 1.5), "shift": 1}
EASY = {"momentum": 0.9, "gamma": 0.0, "brightness": 0.0, "hidden": 256, "out": 64}
MILD = {"flip": 0.0, "crop_scale": (1.0, 1.2), "overlap": 0.5, "brightness": 0.0, "gamma": 0.0}
MILD |= {"local_hidden": 64, "local_out": 32}
NAMES = {"out": 64, "bottleneck": 32, "locals": 2, "turn": 0.0, "flip": 0.0, "effect": 0.0}
NAMES |= {"blur": (0.0, 0.0, 0.0), "koleo_weight": 0.0, "tau": 0.99, "still": 0.0}
NAMES |= {"teacher_temperature": (0.04, 0.04)}


def alike(shape, own=0.3):
    """Scans that share smooth structure at fixed places, for training and held out."""
    return volumes(24, shape, 3.0, own), volumes(8, shape, 3.0, own, 100)


def differing(**look):
    return textured(32, 1, **look), textured(16, 500, **look)


def slices():
    fields = [smooth((44, 44, 1), (3.0, 3.0, 0.0), i) for i in range(24)]
    return [Volume(field[None].astype(np.float32)) for field in fields]


def filled(before, after):
    assert before["hidden"] > before["flat"] and after["hidden"] < 0.8 * after["flat"]


def told_apart(before, after):
    assert after["total"] < 0.85 * log(31)  # collapse: ln 31
    assert after["retrieval"] > max(2 / 31, before["retrieval"] + 0.05)


def slices_told_apart(before, after):
    assert after["retrieval"] > max(3 / 31, 1.2 * before["retrieval"])
    assert after["total"] < 0.9 * log(31) and after["std"] > 0.3 / 32**0.5


def views_named(before, after):
    assert after["class"] < 0.93 * log(64) < before["class"]  # whoever names all alike: ln 64
    assert after["information"] > 0.4 and after["patch"] < 0.8 * before["patch"]


def keys_retrieved(before, after):
    assert after["total"] < 0.9 * 4 * 0.2 * log(16)  # collapse and chance: 4 t ln 16
    assert after["retrieval"] > max(before["retrieval"], 2 / 16)


def restored(before, after):
    assert before["total"] > max(before["flat"], 0.8 * before["chance"])
    assert after["total"] < 0.7 * min(after["chance"], after["flat"], after["copied"])


def below_the_mean(before, after):
    assert after["total"] < 0.8 * after["flat"]


def accuracy(least, gain):
    def check(before, after):
        assert after["accuracy"] > max(least, before["accuracy"] + gain), (before, after)

    return check


RUNS = {  # parameters, scans, steps, rate, samples a step, what must be learned
    "rotation2d": (
        {"area": (0.6, 1.0)},
        lambda: [volumes(12, (48, 48, 8), 6.0)],
        50,
        3e-3,
        12,
        accuracy(0.5, 0.2),
    ),
    "rotation3d": (
        {"versions": 2},
        lambda: [volumes(8, CUBE, 3.0)],
        60,
        3e-3,
        12,
        accuracy(0.3, 0.15),
    ),
    "exemplar3d": (
        {"margin": 1.0, "rotate": 0.0},
        lambda: [volumes(8, CUBE, 3.0, 1.0)],
        60,
        3e-3,
        12,
        accuracy(0.8, 0),
    ),
    "simclr3d": ({}, differing, 150, 2e-3, 12, told_apart),
    "simclr2d": ({"area": [0.5, 1.0]}, lambda: differing(**LOOK), 150, 2e-3, 12, slices_told_apart),
    "mocov3": (EASY, differing, 120, 2e-3, 12, keys_retrieved),
    "mae3d": (
        {"decoder_dim": 64, "decoder_depth": 2},
        lambda: alike((32, 32, 32)),
        300,
        2e-3,
        8,
        below_the_mean,
    ),
    "hi_end_mae": (
        {"decoder_dim": 48, "decoder_depth": 1, "flip": 0.0, "rot90": 0.0},
        lambda: alike((32, 32, 32)),
        1000,
        1e-3,
        8,
        below_the_mean,
    ),
    "dinov2_3d": (NAMES, lambda: differing(shape=(64, 64, 40)), 150, 1e-3, 12, views_named),
    "models_genesis": ({"windows": 1}, lambda: alike(CUBE), 120, 1e-2, 8, restored),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_short_run_learns_the_task(name):
    params, scans, steps, rate, count, check = RUNS[name]
    training, *held_out = scans()
    learned(build(name, params), training, [*held_out, training][0], steps, rate, count, check)


@pytest.mark.parametrize("mask", ["random", "blocks", "centre"])
def test_holes_are_filled_better_than_with_their_mean(mask):
    method = build("inpainting2d", {"mask": mask, "area": (0.8, 1.0)})
    learned(method, *alike(FLAT), 300, 3e-3, 12, filled)


def learned(method, training, held_out, steps, rate, count, check):
    before = shown(method, held_out)
    train(method, training, steps, rate, count)
    check(before, shown(method, held_out))


def vicregl(steps, **params):
    """Return the mean terms before and after a training on slices."""
    method = build("vicregl", {**MILD, **params}, network=fitting("vicregl", dims=2))
    before = shown(method, slices(), (997, 998, 999))
    train(method, slices(), steps, 3e-3, 24)
    return before, shown(method, slices(), (997, 998, 999))


def test_views_of_vicregl_find_each_other_and_without_variance_and_covariance_it_collapses():
    before, after = vicregl(60)
    assert after["retrieval"] > max(5 / 24, before["retrieval"] + 0.15), (before, after)
    healthy, fallen = (vicregl(30, norm="layer", weights=(25.0, w, w / 25))[1] for w in (25.0, 0.0))
    assert fallen["std"] < 0.3 * healthy["std"], (healthy, fallen)
    assert fallen["var"] > 0.95 > healthy["var"], (healthy, fallen)
