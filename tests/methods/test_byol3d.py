"""BYOL on volumes: equal views cost nothing, and no collapse; test_slow_copies has the rest."""

import pytest
from volumes import shown, trained, volumes

from bench.pretext.losses import unit_distance


@pytest.mark.slow
def test_directions_stay_spread_and_collapse_without_the_slow_copy(build):
    scans, spread = volumes(24, own=1.5), {}
    for loss in ({}, {"loss": _without_stop}):
        method = build("byol3d", {"hidden": 256, "out": 64})
        trained(method, scans, 80, 1e-3, **loss)
        spread[bool(loss)] = shown(method, scans, [99])["std"]
    assert spread[False] > 0.3 / 64**0.5
    assert spread[True] < 0.5 * spread[False]


def _without_stop(method, batch):
    """Both sides the online network, gradient through both: nothing keeps it from collapsing."""
    one, two = batch["views"].unbind(1)
    z1, z2 = (method.projector(method.encoder.embed(v)) for v in (one, two))
    return unit_distance(method.predictor(z1), z2) + unit_distance(method.predictor(z2), z1)
