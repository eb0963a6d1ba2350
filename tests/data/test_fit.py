"""Whether a recipe fits scans, by what was measured of them."""

import nibabel as nib
import numpy as np
import pytest

from bench.data.facts import facts
from bench.data.fit import doubts
from bench.dataset import Case, Recipe
from bench.volumes.reading import read_volume

CT = Recipe(window=(-175.0, 250.0))
AIR = np.full((20, 20, 20), -1000.0)


def body(value, share):
    """Return air in which the first planes, a share of all, hold one value."""
    array = AIR.copy()
    array[: round(20 * share)] = value
    return array


RECIPES = {  # voxels, spacing in mm, recipe: words of the doubt, none where it fits
    "soft tissue in air": (body(40, 0.5), 1.0, CT, ""),
    "an offset of 1024": (
        body(40, 0.5) + 1024,
        1.0,
        CT,
        "50% to its upper end; no voxel is air in HU",
    ),
    "a narrow window": (body(2000, 0.2), 1.0, CT, "80% of a median scan's voxels to its lower end"),
    "SUVs": (
        body(8, 0.5).clip(0),
        1.0,
        CT,
        "is in HU, and channel 0 holds 0 to 8 in a median scan",
    ),
    "CT cut to the body": (body(-100, 0.1)[:10].clip(-150), 1.0, CT, ""),
    "10 mm of 36 mm": (body(40, 0.5), 1.8, Recipe(spacing=(10.0,) * 3), "leave 3.6 along x"),
    "fine voxels": (body(40, 0.5), 1.8, Recipe(spacing=(2.0,) * 3), ""),
    "as thin as it is stored": (body(40, 0.5)[..., :4], 3.0, Recipe(spacing=(3.0,) * 3), ""),
}


@pytest.mark.parametrize(("array", "spacing", "recipe", "words"), RECIPES.values(), ids=RECIPES)
def test_what_of_a_recipe_does_not_fit(tmp_path, array, spacing, recipe, words):
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(array.astype(np.float32), np.diag([spacing] * 3 + [1])), path)
    seen = facts(Case("a", "a", (path,)), read_volume(path), None)
    told = doubts(recipe, [seen], "CT")
    assert (words in told[0]) if words else told == []
