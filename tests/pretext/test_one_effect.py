"""Views that are each changed by one of torchio's transforms."""

import pytest
import torch
from seeded import generator

from bench.errors import BenchError
from bench.pretext.one_effect import EFFECTS, OneEffect, bias_field

SHAPE = (12, 10, 8)
QUIET = {"flip": 0.0, "degrees": 0.0, "zoom": 0.0, "noise_std": (0.0, 0.0), "bias": 0.0}
QUIET |= {"blur_sigma": (0.0, 0.0), "log_gamma": 0.0, "thinned": (1.0, 1.0)}


def images(n=64, seed=0):
    return torch.rand((n, 1, *SHAPE), generator=generator(seed))


def done(name, zscored=None, n=64, scale=1.0, offset=0.0, **params):
    x = images(n) * scale + offset
    kind = torch.full((n,), EFFECTS.index(name))
    zscored = None if zscored is None else torch.full((n,), zscored)
    made, flipped = OneEffect(**params).changed(x, kind, zscored, generator(1))
    return x, made, flipped


@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_changes_a_view_unless_its_amount_is_nothing(name):
    x, made, _ = done(name)
    assert (made != x).flatten(1).any(1).float().mean() > (0.3 if name == "flip" else 0.9)
    x, made, _ = done(name, **QUIET)
    assert torch.allclose(made, x, atol=1e-5)


def test_every_view_has_one_effect_and_its_partner_another():
    crop = images(1).expand(600, -1, -1, -1, -1)
    seen = []

    class Watched(OneEffect):
        def changed(self, x, kind, zscored, g):
            seen.append(kind.view(-1, 2))
            return super().changed(x, kind, zscored, g)

    made = Watched().views({"crop": crop}, SHAPE, generator(0))
    pairs = seen[0]
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(torch.unique(pairs, dim=0)) == 7 * 6  # in either order
    for number, name in enumerate(EFFECTS):
        share = (pairs == number).float().mean()
        assert abs(share - 1 / 7) < 0.04, name
    flips = made["views"].eq(crop[:, None].flip(-1)).flatten(2).all(2)
    assert torch.equal(flips, made["flipped"])
    assert not made["flipped"][pairs != EFFECTS.index("flip")].any()
    assert abs(made["flipped"].float().mean() - 0.5 / 7) < 0.03


def test_a_views_effect_depends_on_no_other_row():
    x, params = images(6), OneEffect()
    whole, _ = params.changed(x, torch.arange(6), None, generator(1))
    for number in range(6):
        alone, _ = params.changed(
            x, torch.where(torch.arange(6) == number, number, 6), None, generator(1)
        )
        assert torch.allclose(alone[number], whole[number], atol=1e-6)


@pytest.mark.parametrize("name", ["noise", "bias", "gamma", "affine"])
def test_zscores_are_changed_as_the_unit_interval_is(name):
    x = images(8)
    low, high = x.flatten(1).amin(1), x.flatten(1).amax(1)
    x = (x - low.view(-1, 1, 1, 1, 1)) / (high - low).view(-1, 1, 1, 1, 1)
    kind = torch.full((8,), EFFECTS.index(name))
    unit, _ = OneEffect().changed(x, kind, torch.zeros(8, dtype=torch.bool), generator(1))
    scores, _ = OneEffect().changed(
        4 * x - 1.5, kind, torch.ones(8, dtype=torch.bool), generator(1)
    )
    assert torch.allclose(4 * unit - 1.5, scores, atol=1e-4)


def test_amounts_are_bounded_as_stated():
    x, made, _ = done("noise")
    assert (made - x).flatten(1).std(1).max() < 0.27 and (made - x).flatten(1).std(1).max() > 0.2
    x, made, _ = done("gamma")
    power = (made.log() / x.log()).flatten(1).median(1).values
    assert (power.log().abs() < 0.31).all() and power.max() > 1.2 and power.min() < 0.82
    x, made, _ = done("affine", offset=3.0)  # what comes in from outside is the minimum, and not 0
    assert (made.flatten(1).amin(1) >= x.flatten(1).amin(1) - 1e-5).all()


def test_anisotropy_leaves_two_axes_as_they_are():
    ramps = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in SHAPE), indexing="ij"))
    x = ramps.expand(32, 3, *SHAPE)
    kind = torch.full((32,), EFFECTS.index("anisotropy"))
    made, _ = OneEffect(thinned=(3.0, 5.0)).changed(x, kind, None, generator(1))
    kept = (made - x).abs().flatten(2).amax(2) < 1e-4
    assert (kept.sum(1) == 2).all() and kept.float().mean(0).max() < 0.9


def test_a_field_is_the_exponential_of_a_polynomial_of_its_order():
    terms = torch.zeros(1, 4, 4, 4)
    terms[0, 1, 0, 2], terms[0, 0, 0, 0] = 0.4, 0.1
    terms[0, 2, 1, 1] = 9.0  # of order 4: left out
    field = bias_field(terms, SHAPE)
    x, z = torch.linspace(-1, 1, 12)[:, None, None], torch.linspace(-1, 1, 8)
    assert torch.allclose(field[0, 0], (0.1 + 0.4 * x * z**2).exp().expand(SHAPE), atol=1e-6)


@pytest.mark.parametrize("effects", [(), ("blur",), ("blur", "blur"), ("blur", "noise", "blur")])
def test_refuses_effects_of_which_partners_cannot_have_different_ones(effects):
    with pytest.raises(BenchError, match="different effects"):
        OneEffect(effects=effects)
