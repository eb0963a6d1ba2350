"""One time point of a 4-D file is a case: read, prepared, hashed and checked as such."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from by_hand import a_job

from bench import registry
from bench.data.check import check
from bench.data.prepared import Prepared
from bench.jobs.context import RunOptions
from bench.jobs.prepare import run as prepare
from bench.phantoms.organs import write_nifti
from bench.store import Store
from bench.volumes.header import VolumeError
from bench.volumes.reading import read_label, read_volume

FRAMES = 3


@pytest.fixture
def cine(tmp_path) -> tuple[Path, Path]:
    """(6, 5, 4) voxels at three times, the values of an image being 100 x the time and more."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 90, (6, 5, 4, FRAMES)) + 100 * np.arange(FRAMES)
    label = np.stack([np.full((6, 5, 4), t) for t in range(FRAMES)], axis=-1)
    write_nifti(tmp_path / "x_sa.nii.gz", image, (1, 1, 2), "int16")
    write_nifti(tmp_path / "x_sa_gt.nii.gz", label, (1, 1, 2), "uint8")
    return tmp_path / "x_sa.nii.gz", tmp_path / "x_sa_gt.nii.gz"


@pytest.mark.parametrize("frame", range(FRAMES))
def test_a_frame_is_a_volume_of_one_channel(cine, frame):
    image = read_volume(cine[0], frame)
    assert image.array.shape == (1, 6, 5, 4)
    assert np.array_equal(image.array[0], read_volume(cine[0]).array[frame])
    label = read_label(cine[1], image, frame)
    assert np.unique(label.array).tolist() == [frame]


@pytest.mark.parametrize("frame", [-1, FRAMES])
def test_a_frame_that_is_not_there_is_refused(cine, frame):
    for read in (lambda: read_volume(cine[0], frame), lambda: read_label(cine[1], None, frame)):
        with pytest.raises(VolumeError, match=f"frame {frame} of 3") as caught:
            read()
        assert caught.value.kind == "shape"


def test_the_only_frame_of_a_volume_is_frame_0(tmp_path):
    write_nifti(tmp_path / "a.nii", np.ones((3, 4, 5, 1)), (1, 1, 1), "uint8")
    assert read_volume(tmp_path / "a.nii", 0).array.shape == (1, 3, 4, 5)
    with pytest.raises(VolumeError, match="frame 1 of 1"):
        read_volume(tmp_path / "a.nii", 1)


def test_two_frames_of_one_file_are_prepared_as_two_cases(tmp_path):
    root = tmp_path / "mnms"
    dataset = registry.load("dataset", "mnms")()
    dataset.phantom(root, 2, 0)
    assert check(dataset, root) == []
    job, folder = (
        a_job("prepare", {"dataset": "mnms", "recipe": {"scale": "zscore"}}),
        tmp_path / "made",
    )
    folder.mkdir()
    context = SimpleNamespace(
        spec=job.spec,
        job=job,
        run=RunOptions(roots={"mnms": str(root)}),
        folder=folder,
        scratch=tmp_path,
        store=Store.open(tmp_path / "out"),
        progress=lambda *_: None,
        stopping=lambda: False,
        facts={},
    )
    prepare.run(context)
    found = Prepared(folder)
    for case in dataset.cases(root):
        assert (
            found.volume(case.id).shape == read_volume(case.images[0], case.frame).array.shape[1:]
        )
        assert np.array_equal(found.native(case.id), read_label(case.label, None, case.frame).array)
    sizes = [np.count_nonzero(found.native(case.id) == 1) for case in dataset.cases(root)]
    assert sizes[0] > 1.2 * sizes[1]  # end-diastole, end-systole
