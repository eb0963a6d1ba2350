"""Every maker of phantoms: a patient is a pure function of seed and index, and is quickly drawn."""

import time
from operator import attrgetter

import numpy as np
import pytest
from likeness import dice

from bench.phantoms.brain import brain
from bench.phantoms.chest import chest
from bench.phantoms.fundus import fundus
from bench.phantoms.heart import cine, whole_heart
from bench.phantoms.knee import knee
from bench.phantoms.lesion import SPACING, Growth, abdomen, grid
from bench.phantoms.organs import organs
from bench.phantoms.prostate import prostate
from bench.phantoms.slices import pneumonia
from bench.phantoms.tones import tones


def head(seed, index):
    made = brain((60, 60, 39), (4.0, 4.0, 4.0), seed, index)
    return made.images["t1"], made.tumour


def slices(seed, index):
    made = pneumonia((64, 52, 16), (5.0, 5.0, 18.0), seed, index, "ground glass")
    return made, made > 240


lesions, signs = attrgetter("image", "lesions"), attrgetter("image", "signs")
MAKERS = {
    "brain": head,
    "chest": lambda seed, index: lesions(chest((64, 52, 44), (5.0, 5.0, 7.0), seed, index)),
    "fundus": lambda seed, index: signs(fundus((128, 96), seed, index, grade=3)),
    "slices": slices,
    "cine": lambda seed, index: cine((76, 72, 9), (3.0, 3.0, 10.0), seed, index, systole=(0.0,)),
    "heart": lambda seed, index: whole_heart(
        (54, 52, 40), (4.0, 4.0, 4.0), seed, index, modality="CT"
    ),
    "knee": lambda seed, index: knee((36, 48, 46), seed, index),
    "lesion": lambda seed, index: abdomen(
        grid(0), SPACING, seed, index, {6: 1}, [Growth(2, (6,), 35, (0.2, 0.3))]
    ),
    "organs CT": lambda seed, index: organs((64, 64, 64), (3, 3, 3), 13, seed, index),
    "organs MR": lambda seed, index: organs((40, 52, 36), (1, 1, 1), 2, seed, index, modality="MR"),
    "prostate": lambda seed, index: prostate((60, 60, 18), (3.0, 3.0, 3.6), seed, index),
    "tones": lambda seed, index: tones((16, 16, 16), seed, index),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_patient_depends_on_seed_and_index_alone_and_takes_a_fraction_of_a_second(kind):
    make, times = MAKERS[kind], []
    image, label = make(3, 5)
    make(0, 0)
    for _ in range(3):
        start = time.process_time()
        again, same = make(3, 5)
        times.append(time.process_time() - start)
        assert np.array_equal(image, again)
        assert np.array_equal(label, same)
    assert min(times) < 0.5  # 0.02 to 0.15 s alone; the bound allows for a busy machine
    if kind not in ("fundus", "slices"):  # pictures of 8 bits
        assert (image.dtype, label.dtype) == (np.float32, np.uint8)
    for other, other_label in (make(4, 5), make(3, 6)):
        assert image.shape != other.shape or not np.array_equal(image, other)
        assert dice(label > 0, other_label > 0) < 0.95
