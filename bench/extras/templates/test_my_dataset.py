"""My dataset keeps the contract of every data set, and pairs its files."""

from pathlib import Path

from bench import plugins, registry
from bench.conformance.test_datasets import *

CONFORMANCE = Path(__file__).with_name("my_dataset.py")


def test_a_scan_without_a_label_map_is_a_case_without_label(tmp_path):
    for name in ("images/2.nii.gz", "images/10.nii.gz", "labels/10.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    plugins.use([CONFORMANCE])
    cases = registry.load("dataset", "my_dataset")().cases(tmp_path)
    assert [(c.id, c.label is None) for c in cases] == [("2", True), ("10", False)]
