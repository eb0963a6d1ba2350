"""What the environment knows gets into no file that a run leaves."""

import json
import zipfile

from bench.executors.slurm import sbatch
from bench.executors.slurm.profile import Profile, Shape
from bench.executors.slurm.sbatch import options

SECRET = b"hunter2-3f9c"  # of conftest's environment


def contents(root):
    """Yield every file, those inside zips (npz) too."""
    for path in (p for p in root.rglob("*") if p.is_file()):
        yield path, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                yield from ((path, file.read(name)) for name in file.namelist())


def test_no_secret_of_the_environment_is_in_any_file_of_a_run(attacked):
    found = [contents(attacked.root / folder) for folder in ("out", "to")]
    files = [pair for folder in found for pair in folder]
    assert len(files) > 20
    assert {str(path) for path, raw in files if SECRET in raw} == set()


def test_a_manifest_keeps_versions_and_the_machine_and_nothing_else(attacked):
    manifests = list((attacked.root / "out" / "jobs").glob("*/manifest.json"))
    known = {"python", "packages", "host", "platform", "device", "threads", "date", "processes"}
    known |= {"commit", "modified", "changed", "source", "sources", "begun_by"}
    assert manifests and all(
        set(json.loads(p.read_text())["provenance"]) <= known for p in manifests
    )


def test_what_goes_to_slurm_holds_no_environment(tmp_path, monkeypatch, cluster):
    monkeypatch.setenv("WANDB_API_KEY", SECRET.decode())
    parameters = options(Profile(account="a"), Shape(), "bench-x", ())
    sbatch.submit(tmp_path / "slurm", parameters, [("out", ("j",), "f", 1)], None)
    files = [p for p in (tmp_path / "slurm").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} >= {".sh", ".pkl"}
    assert not any(SECRET in p.read_bytes() for p in files)
    assert not any("export" in str(key) for key in parameters)
