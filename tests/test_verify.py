"""Damage of published files: named by `bench verify` and by whoever reads, set aside, made anew."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import reliability
from described import inline

from bench import digest
from bench.cli import main
from bench.data.cache import Pack
from bench.data.prepared import Prepared
from bench.errors import Damaged
from bench.executors import local
from bench.jobs import scoring
from bench.jobs.guard import spec as guard
from bench.jobs.latency import spec as latency
from bench.nets import transfer
from bench.runtime import execute as executing
from bench.show.gather import logged
from bench.store import Store

QUICK = {
    **reliability.SHORT,
    "fractions: [50, 100]": "fractions: [100]",
    "cases: 9": "cases: 7",
    "metrics: [dice, hd95]": "metrics: [dice, latency]",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a protocol that ran, its output folder and its records."""
    folder = tmp_path_factory.mktemp("verified")
    path = reliability.protocol(folder, **QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "run", inline)
        assert main(["run", str(path), "--out", str(folder / "out"), "--workers", "1"]) == 0
    return SimpleNamespace(path=path, out=folder / "out", records=told(folder / "out"))


@pytest.fixture
def made(finished, tmp_path, inlined):
    """Return a copy to be damaged."""
    shutil.copytree(finished.out, tmp_path / "out")
    return SimpleNamespace(path=finished.path, out=tmp_path / "out", records=finished.records)


def told(out):
    """Return the records without the times taken, which are others each time."""
    return [line for line in reliability.records(out).splitlines() if b"latency" not in line]


def again(made, *flags):
    return main(["run", str(made.path), "--out", str(made.out), "--workers", "1", *flags])


def found(out, name):
    return sorted((out / "jobs").glob(f"*/{name}"))[0]


def flip(path, part, bit=3):
    """Flip one bit at a share of a file; return the bytes before."""
    before = path.read_bytes()
    raw = bytearray(before)
    raw[min(int(part * len(raw)), len(raw) - 1)] ^= 1 << bit
    path.write_bytes(raw)
    return before


def every_frame(prepared):
    for case in prepared.cases():
        for read in (prepared.label, prepared.native, prepared.fingerprint):
            read(case.id)
        volume = prepared.volume(case.id)
        volume.whole()
        assert volume.foreground is not None and volume.classes is not None


def every_prediction(folder):
    pack = Pack(folder, "prediction")
    return [pack[case][:] for case in pack]


READERS = {  # of each kind of published file: who reads it
    "weights.safetensors": transfer.read,
    "last.safetensors": transfer.read,
    "curve.csv": logged,
    "embeddings.csv": logged,
    "latency.json": lambda path: latency.read(path.parent),
    "leaks.json": lambda path: guard.read(path.parent),
    "index.npz": lambda path: Prepared(path.parent),
    "shard-0000.b2": lambda path: every_frame(Prepared(path.parent)),
    "prediction.json": lambda path: every_prediction(path.parent),
    "prediction-000.b2": lambda path: every_prediction(path.parent),
    "manifest.json": lambda path: digest.manifest(path.parent),
}
PARTS = [0.0, 0.001, 0.01, 0.1, 0.35, 0.5, 0.77, 0.9, 0.99, 0.999, 1.0]


def test_what_cannot_be_read_for_now_is_not_set_aside(made, monkeypatch):
    store, path = Store.open(made.out), found(made.out, "index.npz")
    real = Path.read_bytes

    def refused(self):
        if self.suffix == ".json":
            raise OSError(24, "Too many open files", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", refused)
    os.utime(path.with_name("manifest.json"))  # another state than what this process has read
    assert not digest.published(path.parent) and not digest.lost(path.parent)
    assert executing._aside(store, Damaged(path, "said by somebody who saw it before")) == ""
    monkeypatch.setattr(Path, "read_bytes", real)
    assert digest.published(path.parent)
    assert executing._aside(store, Damaged(path, "as before")) == ""
    path.unlink()
    with pytest.raises(Damaged, match="it is lost"):
        Prepared(path.parent)
    assert executing._aside(store, Damaged(path, "it is lost")) == path.parent.name


@pytest.mark.parametrize("name", READERS)
def test_one_flipped_bit_is_found_by_verify_and_by_whoever_reads_the_file(made, name, capsys):
    path = found(made.out, name)
    READERS[name](path)
    for number, part in enumerate(PARTS):
        before = flip(path, part, number % 8)
        with pytest.raises(Damaged, match="run again") as error:
            READERS[name](path)
        assert error.value.path == path
        assert main(["verify", "--out", str(made.out)]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2 and "1 damaged" in lines[1]
        assert lines[0].startswith(f"{path}: damaged")
        path.write_bytes(before)
    READERS[name](path)
    assert main(["verify", "--out", str(made.out)]) == 0
    assert capsys.readouterr().out.endswith("all whole\n")
    assert not (made.out / "damaged" / "found.json").exists()


def test_one_flipped_bit_in_scores_is_found_and_they_count_as_lacking(made):
    path = found(made.out, "scores-*.parquet")
    for number, part in enumerate(PARTS):
        before = flip(path, part, number % 8)
        assert not scoring.intact(path) and main(["verify", "--out", str(made.out)]) == 1
        path.write_bytes(before)
    assert scoring.intact(path)


def untuned(made):
    for path in list((made.out / "jobs").glob("*/manifest.json")):
        if json.loads(path.read_text())["kind"] in ("finetune", "evaluate"):
            shutil.rmtree(path.parent)


def unscored(made):
    for path in (made.out / "jobs").glob("*/scores-*"):
        path.unlink()


def middle(path):
    flip(path, 0.5)


def everywhere(path):
    raw = bytearray(path.read_bytes())
    raw[::100] = bytes(value ^ 4 for value in raw[::100])
    path.write_bytes(raw)


def chosen(made, name):
    """Return the file of this name that somebody reads again."""
    if name == "curve.csv":  # the report draws a pretraining's
        return found(made.out, "weights.safetensors").with_name(name)
    paths = sorted((made.out / "jobs").glob(f"*/{name}"))
    if (
        name == "leaks.json"
    ):  # of the guard that the protocol's cells name, not of the one that searched
        paths = [p for p in paths if "tests" not in digest.manifest(p.parent)["spec"]]
    return paths[-1]


MENDED = {  # file, what happens to it, what else is gone, so that somebody reads it
    "weights": ("weights.safetensors", middle, untuned),
    "an index": ("index.npz", middle, untuned),
    "a frame": ("shard-0000.b2", everywhere, untuned),
    "a frame, scored": ("shard-0000.b2", everywhere, unscored),
    "a prediction": ("prediction-000.b2", middle, unscored),
    "an index of predictions": ("prediction.json", middle, unscored),
    "scores": ("scores-*.parquet", middle, None),
    "a curve": ("curve.csv", middle, None),
    "a time": ("latency.json", middle, None),
    "a guard's finding": ("leaks.json", middle, None),
    "a prediction, drawn": ("prediction-000.b2", everywhere, None),
    "a manifest": ("manifest.json", middle, None),
    "a manifest that is lost": ("manifest.json", Path.unlink, None),
    "a file that is lost": ("prediction-000.b2", Path.unlink, unscored),
    "verified": ("last.safetensors", middle, lambda m: main(["verify", "--out", str(m.out)])),
}


@pytest.mark.parametrize("case", MENDED)
def test_what_is_damaged_is_named_and_made_anew_by_the_same_command(made, case, capsys):
    name, damage, before = MENDED[case]
    path = chosen(made, name)
    damage(path)
    if before is not None:
        before(made)
    capsys.readouterr()
    assert again(made) == 0
    said = capsys.readouterr().err
    assert str(path if name != "manifest.json" else path.parent) in said and "Traceback" not in said
    assert ("scored again" if case == "scores" else "moved to") in said
    assert told(made.out) == made.records
    assert main(["verify", "--out", str(made.out)]) == 0
    aside = list((made.out / "damaged").glob(f"{path.parent.name}-*"))
    assert len(aside) == (0 if case == "scores" else 1)
    assert Store(made.out).done(path.parent.name)
    capsys.readouterr()
    assert again(made) == 0
    assert "0 of 9 jobs to do" in capsys.readouterr().err


def test_what_verify_found_and_somebody_mended_is_left_alone(made):
    path = found(made.out, "last.safetensors")
    before = flip(path, 0.5)
    assert main(["verify", "--out", str(made.out)]) == 1
    path.write_bytes(before)
    assert again(made) == 0
    assert [p.name for p in (made.out / "damaged").iterdir()] == []


def test_a_job_of_an_older_version_is_named_as_not_verifiable_and_can_be_read(made, capsys):
    path = found(made.out, "weights.safetensors")
    manifest = json.loads(path.with_name("manifest.json").read_text())
    del manifest["files"], manifest["digest"]
    path.with_name("manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", "--out", str(made.out)]) == 0
    line = f"not verifiable: 1 of an older version, without digests: {path.parent.name}"
    assert line in capsys.readouterr().out.splitlines()
    transfer.read(path)
    assert again(made) == 0


def test_a_report_drawn_from_a_damaged_prediction_fails_as_a_check_does(made, capsys):
    everywhere(found(made.out, "prediction-000.b2"))
    assert main(["report", str(made.path), "--out", str(made.out)]) == 1
    assert "prediction-000.b2, byte 0: damaged" in capsys.readouterr().err


def test_status_names_a_damaged_manifest_and_goes_on(made, capsys):
    path = found(made.out, "manifest.json")
    flip(path, 0.5)
    assert main(["status", "--out", str(made.out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("0 running, 1 failed, 0 waiting, 8 done") and f"{path}: damaged" in said


def test_what_other_source_made_is_said_and_done_again_when_asked(made, capsys):
    file = found(made.out, "weights.safetensors").with_name("manifest.json")
    manifest = json.loads(file.read_text())
    now = dict(manifest["provenance"]["sources"])
    assert {"methods/simclr3d.py", "bench/nets/unet.py", "bench/train/loop.py"} <= set(now)
    manifest["provenance"]["sources"]["methods/simclr3d.py"] = "0" * 12
    file.write_text(digest.sealed(file.parent, manifest))
    line = "finished jobs were made by another version of methods/simclr3d.py (1 pretrain"
    for flags, count in (((), 0), (("--redo", "changed"), 3)):
        assert again(made, *flags) == 0
        said = capsys.readouterr().err
        page = (made.out / "reports" / "smoke" / "index.html").read_text()
        assert f"{count} of 9 jobs to do" in said and told(made.out) == made.records
        assert (line in said) == ("another version of the code" in page) == (not flags)
    assert json.loads(file.read_text())["provenance"]["sources"] == now


def test_a_bug_in_scoring_leaves_its_trace_beside_what_is_published(made, monkeypatch):
    unscored(made)
    monkeypatch.setattr(scoring, "_of_maps", lambda *given: 1 / 0)
    assert again(made) == 1
    assert main(["verify", "--out", str(made.out)]) == 0
    traces = [p.read_text() for p in (made.out / "work").glob("*/log.txt")]
    assert traces and all("ZeroDivisionError" in text for text in traces)
