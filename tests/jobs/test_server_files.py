"""What a challenge's server gets: names, values, and the grid of each image, read back from the zip."""

import gzip
from types import SimpleNamespace
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pytest

from bench.data.cache import Pack
from bench.dataset import Case
from bench.errors import BenchError
from bench.export import export
from bench.jobs import submission
from bench.jobs.submission import nifti_like
from bench.volumes.header import VolumeError
from bench.volumes.reading import read_label, read_volume, turned_back

SHAPE = (5, 4, 3)  # stored
AFFINES = {  # of the stored axes
    "RAS": np.diag([1.0, 2, 3, 1]),
    "LPS": np.array([[-1.0, 0, 0, 90], [0, -1, 0, 126], [0, 0, 1, -72], [0, 0, 0, 1]]),
    "PSR": np.array([[0, 0, 3.0, 5], [-2, 0, 0, 6], [0, 1, 0, 7], [0, 0, 0, 1]]),
    "oblique": np.array([[0.96, -0.28, 0, 1], [0.28, 0.96, 0, 2], [0, 0, -2, 3], [0, 0, 0, 1]]),
}
DATASET = SimpleNamespace(submission="Some_{case}.nii.gz", raw_labels={1: 1, 2: 2, 4: 3, 5: 3})


def image(folder, name, affine):
    path = folder / f"{name}_flair.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16), affine), path)
    return path


@pytest.mark.parametrize("name", AFFINES)
def test_a_map_lies_on_its_images_grid_whatever_way_the_image_is_stored(name, tmp_path):
    path = image(tmp_path, name, AFFINES[name])
    stored = np.random.default_rng(0).integers(0, 5, SHAPE).astype(np.uint8)
    nib.save(nib.Nifti1Image(stored, AFFINES[name]), tmp_path / "label.nii.gz")
    ours = read_label(tmp_path / "label.nii.gz").array  # in RAS+
    (tmp_path / "made.nii.gz").write_bytes(nifti_like(ours.astype(np.uint8), path))
    made = nib.load(tmp_path / "made.nii.gz")
    assert np.array_equal(np.asarray(made.dataobj), stored) and made.get_data_dtype() == np.uint8
    for affine in (made.affine, made.get_qform(), made.get_sform()):
        np.testing.assert_allclose(affine, AFFINES[name], atol=1e-5)
    with pytest.raises(VolumeError, match="its grid is"):
        turned_back(ours[:-1], path)


def test_a_map_of_an_image_that_states_no_directions_states_none(tmp_path):
    path, stored = image(tmp_path, "a", None), np.arange(60, dtype=np.uint8).reshape(SHAPE)
    nib.save(nib.Nifti1Image(stored, None), tmp_path / "label.nii.gz")
    ours = read_label(tmp_path / "label.nii.gz", read_volume(path)).array
    (tmp_path / "made.nii.gz").write_bytes(nifti_like(ours, path))
    made = nib.load(tmp_path / "made.nii.gz")
    assert np.array_equal(np.asarray(made.dataobj), stored)
    assert made.header["sform_code"] == made.header["qform_code"] == 0


def test_the_zip_holds_a_file_for_each_case_with_the_data_sets_names_and_values(tmp_path):
    cases = [Case(id, id, (image(tmp_path, id, AFFINES["LPS"]),)) for id in ("AAB_1", "AAC_1")]
    label = np.zeros(SHAPE, np.uint8)
    label[0, 0] = 1, 2, 3  # the corner towards left and posterior, stored as the farthest
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        with submission.archive(tmp_path / folder, DATASET, cases) as add:
            for case in cases:
                add(case.id, label)
    raw = [(tmp_path / folder / submission.FILE).read_bytes() for folder in ("one", "two")]
    assert raw[0] == raw[1]
    with ZipFile(tmp_path / "one" / submission.FILE) as made:
        assert made.namelist() == ["Some_AAB_1.nii.gz", "Some_AAC_1.nii.gz"]
        found = nib.Nifti1Image.from_bytes(gzip.decompress(made.read("Some_AAC_1.nii.gz")))
    assert np.asarray(found.dataobj)[-1, -1].tolist() == [1, 2, 4]  # of 4 and 5 the first
    assert np.asarray(found.dataobj).sum() == 7


def test_a_job_predicts_what_is_asked_for_stopped_or_not_and_the_command_hands_it_out(
    made, tmp_path
):
    tuned = made.finetune("unet2d", (32, 32, 1), steps=2)
    made.done(tuned)
    every = {"dataset": made.name, "task": "segmentation", "part": "all", "exclude": ["case000_0"]}
    sent = made.evaluate(tuned, data=every, submission=True)
    looks = iter(range(9))
    outcome = made.do(sent, stopping=lambda: next(looks) >= 1)  # after the second case
    assert outcome.state == "stopped", outcome.reason
    folder = made.done(sent)
    left = [p.name for p in folder.iterdir() if p.suffix in (".b2", ".npz", ".zip")]
    assert left == [submission.FILE]
    said = export(made.store, sent.id[:8], tmp_path / "sent.zip", "submission")
    assert "23 label maps" in said
    tested = made.evaluate(tuned)
    packed = Pack(made.done(tested), "prediction")
    with ZipFile(tmp_path / "sent.zip") as zipped:
        assert len(zipped.namelist()) == 23 and "blob_case000_0.nii.gz" not in zipped.namelist()
        for case in packed:
            found = nib.Nifti1Image.from_bytes(gzip.decompress(zipped.read(f"blob_{case}.nii.gz")))
            assert np.array_equal(np.asarray(found.dataobj), packed[case][:]), case
    for job, format, says in (
        (tested, "submission", "predicted nothing for a server"),
        (tuned, "submission", "predicted nothing"),
        (tested, "safetensors", "name a pretrain job"),
        (sent, "safetensors", "take --format submission"),
    ):
        with pytest.raises(BenchError, match=says):
            export(made.store, job.id, tmp_path / "other.zip", format)
    with pytest.raises(BenchError, match="exists already"):
        export(made.store, sent.id, tmp_path / "sent.zip", "submission")


def test_values_beyond_a_byte_get_a_wider_type():
    table = submission.raw_values(SimpleNamespace(raw_labels={205: 1, 420: 2}))
    assert table.dtype == np.int16 and table[:4].tolist() == [0, 205, 420, 3]
