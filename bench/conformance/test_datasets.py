"""What every data set keeps: a phantom in its layout, a complete declaration, lists without overlap."""

import math
import os
from pathlib import Path

import pytest

from bench import registry
from bench.conformance.options import requested
from bench.conformance.trial import named
from bench.data import split
from bench.data.check import check
from bench.data.recipe import prepare
from bench.dataset import files_of, present
from bench.errors import BenchError
from bench.volumes.reading import join_channels, read_label, read_volume

LARGE = 1 << 22  # voxels


PHANTOMS = 4


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", [named(what) for what in requested(metafunc, "dataset")])


@pytest.fixture
def dataset(name):
    return registry.load("dataset", name)()


@pytest.fixture(scope="session")
def phantoms_of(tmp_path_factory):
    """Return a function from a data set's name to the folder of its phantoms, made once."""
    loaded = {}

    def dataset_root(name):
        if name not in loaded:
            loaded[name] = tmp_path_factory.mktemp(name)
            registry.load("dataset", name).phantom(loaded[name], PHANTOMS, 0)
        return loaded[name]

    return dataset_root


@pytest.fixture
def phantom(phantoms_of, name) -> Path:
    return phantoms_of(name)


def test_the_declaration_is_complete(dataset):
    for text in (dataset.title, dataset.licence, dataset.unpack, dataset.source.cite):
        assert text
    assert dataset.invented or dataset.source.url.startswith("http")
    assert dataset.modality in ("CT", "MR", "fundus")
    assert dataset.task in ("segmentation", "classification")
    assert dataset.empty in ("default", "brats", "skip")
    first = 0 if dataset.task == "classification" else 1  # a class has no background beside it
    assert list(dataset.labels) == list(range(first, first + len(dataset.labels)))
    assert not (dataset.task == "classification" and (dataset.regions or len(dataset.labels) < 2))
    assert set(dataset.raw_labels.values()) <= set(dataset.labels)
    assert "default" in dataset.recipes
    assert all(set(values) <= set(dataset.labels) for values in dataset.regions.values())


def test_the_phantom_passes_its_own_check(dataset, phantom):
    cases = dataset.cases(phantom)
    assert len(cases) == len({case.id for case in cases}) == PHANTOMS
    assert all(present(file) for case in cases for file in files_of(case))
    assert dataset.missing(phantom) == []
    assert check(dataset, phantom) == []


def test_links_to_what_a_folder_holds_will_do(dataset, phantom, tmp_path):
    for path in phantom.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert [case.id for case in dataset.cases(tmp_path)] == [
        case.id for case in dataset.cases(phantom)
    ]
    assert dataset.missing(tmp_path) == []


def test_labels_are_what_the_task_says(dataset, phantom):
    labels = [case.label for case in dataset.cases(phantom)]
    if dataset.task == "classification":
        assert len(set(labels)) >= 3  # three phantoms differ in their class
        assert set(labels) <= {*dataset.labels, None}
    else:
        assert all(label is None or isinstance(label, Path) for label in labels)
        assert dataset.labels or set(labels) == {None}


def test_a_phantom_depends_on_its_seed_alone(name, phantom, tmp_path):
    kind = registry.load("dataset", name)
    for folder, seed in (("again", 0), ("other", 1)):
        kind.phantom(tmp_path / folder, 1, seed)
    same, other = (kind().cases(tmp_path / f)[0] for f in ("again", "other"))
    (case,) = (c for c in kind().cases(phantom) if c.id == same.id)
    volumes = [read_volume(c.images[0], c.frame).array for c in (case, same, other)]
    assert (volumes[0] == volumes[1]).all()
    assert not (volumes[0] == volumes[2]).all()


def test_every_recipe_prepares_the_phantom(dataset, phantom):
    case = dataset.cases(phantom)[0]
    image = join_channels([read_volume(p, case.frame) for p in case.images])
    file, way = case.label, dataset.labels_as_stored
    label = read_label(file, image, case.frame, way) if isinstance(file, Path) else None
    assert image.array.shape[0] == len(dataset.channels)
    for recipe in dataset.recipes.values():
        if recipe.resize is not None and math.prod(recipe.resize) > LARGE:
            continue  # VoCo's size: 57 MB, and no other path than the smaller sizes
        prepared = prepare(image, label, recipe, dataset)
        assert prepared.image.shape[1:] == prepared.geometry.shape
        if label is not None:
            assert prepared.label.shape == prepared.geometry.shape
            assert prepared.label.any()


def test_registered_lists_name_their_source_and_are_disjoint(dataset, name):
    folder = registry.file("dataset", name).parent / "splits"
    for listed, file in dataset.splits.items():
        assert file == f"{name}.{listed}.json"
        assert '"source": "' in (folder / file).read_text()
        for fold in split.listed(dataset, listed):
            everyone = [*fold.train, *fold.val, *fold.test]
            assert len(everyone) == len(set(everyone))
            assert fold.train
            assert fold.test


def test_labelled_phantoms_are_patients_of_the_registered_divisions(dataset, phantom):
    divisions = [fold for listed in dataset.splits for fold in split.listed(dataset, listed)]
    listed = {patient for fold in divisions for patient in (*fold.train, *fold.val, *fold.test)}
    labelled = {case.patient for case in dataset.cases(phantom) if case.label is not None}
    assert labelled <= listed or not divisions


def test_an_empty_folder_is_one_line_that_says_what_to_unpack(dataset, tmp_path):
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(BenchError) as caught:
            dataset.listed(root)
        assert str(root) in str(caught.value)
        assert "unpack" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_real_data_pass_the_check(dataset, name):
    root = Path(os.environ.get("BENCH_DATA", "")) / name
    if "BENCH_DATA" not in os.environ or not root.is_dir():
        pytest.skip(f"BENCH_DATA holds no {name}")
    assert check(dataset, root, workers=2) == []
