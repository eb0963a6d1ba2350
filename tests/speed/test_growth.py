"""How a cost is carried on beyond what was measured, on numbers worked out by hand."""

import growth
import growth_figures
import growth_stages
import growth_walls
import pytest


@pytest.mark.parametrize(
    ("points", "slope", "value", "cost"),
    [
        ([(10, 5.0), (100, 50.0)], 1.0, 1000, 500.0),
        ([(10, 1.0), (100, 100.0)], 2.0, 1000, 10_000.0),  # what grows faster goes on so
        (
            [(10, 20.0), (100, 110.0)],
            0.7404,
            1000,
            1010.0,
        ),  # 10 + n: the fixed part does not hide the rest
        ([(1, 99.0), (10, 7.0), (100, 7.0)], 0.0, 1000, 7.0),  # the two largest sizes count
    ],
)
def test_a_cost_goes_on(points, slope, value, cost):
    assert growth_figures.slope(points) == pytest.approx(slope, abs=1e-4)
    assert growth_figures.beyond(points, value) == pytest.approx(cost)


def test_volumes_cost_by_their_number_times_their_voxels():
    measured = [("scans", 10, 1.0), ("scans", 100, 10.0)]
    measured += [("voxels of a scan", 32**3, 2.0), ("voxels of a scan", 128**3, 6.0)]
    rows = [dict(zip(("axis", "value", "cpu_s"), row, strict=True)) for row in measured]
    rows = [{**row, "stage": "prepare"} for row in rows]
    assert growth_walls.volumes(rows, "cpu_s", "prepare") == pytest.approx(3 * 10_000)


def test_memory_goes_on_in_proportion():
    assert growth_walls.memory([(10, 10.0), (20, 12.0), (110, 110.0)], 1000) == pytest.approx(1000)
    assert growth_walls.memory([(10, 45.0), (110, 40.0)], 1000) == 40.0


def test_every_axis_names_stages_and_sizes_that_there_are():
    for axis in growth.AXES:
        assert {stage.lower() for stage in axis.stages.split(", ")} <= growth_stages.STAGES.keys()
        growth_stages.Size(**{**axis.base, axis.key: axis.sizes[0]})
