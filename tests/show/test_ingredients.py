"""What the table of a mixture counts: what a pretraining read of each data set, as prepared."""

from types import SimpleNamespace

import numpy as np
from small_prepared import write_prepared

from bench.data.parts import Entry, Take
from bench.report.supplement import Ingredient
from bench.show.gather import _read


def test_cases_and_slices_are_of_what_was_read_of_each_entry(tmp_path):
    def volumes(*depths):
        return {
            f"c{i}": {"image": np.zeros((1, 4, 4, n), np.float32)} for i, n in enumerate(depths)
        }

    names = ("msd02_heart", "msd09_spleen")
    needs = [tmp_path / name for name in names]
    for folder, found in zip(needs, (volumes(3, 5, 7), volumes(2, 4)), strict=True):
        folder.mkdir()
        write_prepared(folder, found)
    heart = Entry(dataset=names[0], part="all", take="2 cases")
    spleen = Entry(dataset=names[1], part="all")
    for data, first in (((heart, spleen), 2), ((Entry(dataset=names[0], part="all"), spleen), 3)):
        spec = SimpleNamespace(data=data, leaks="", take=Take(), seed=0)
        one, other = _read(spec, needs, {})
        assert (one.cases, other) == (first, Ingredient("msd09_spleen", 2, 6))
    assert one == Ingredient("msd02_heart", 3, 15)
