"""Files that strangers send: loading them runs no code, and each is ignored or refused by name."""

import hashlib
import io
import json
import pickle
import struct
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_prepared import write_prepared

from bench.data.cache import Pack
from bench.data.prepared import Prepared
from bench.document import scalar
from bench.errors import BenchError
from bench.nets import transfer
from bench.protocol import read
from bench.train import checkpoint
from bench.volumes.reading import read_volume


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def bomb(tmp_path):
    """Return an object whose unpickling leaves a file, which no test may find in the end."""
    mark = tmp_path / "pwned"
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # it is a real one
    mark.unlink()
    yield Bomb(mark)
    assert not mark.exists()


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# Weights and checkpoints


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_checkpoint_runs_no_code(tmp_path, bomb, form):
    buffer = io.BytesIO()
    if form == "bare":
        buffer.write(pickle.dumps(bomb, protocol=2))
    else:
        torch.save({"objective": bomb}, buffer, _use_new_zipfile_serialization=form == "zip")
    raw = buffer.getvalue()
    digest = hashlib.sha256(raw).hexdigest()[:16]  # its name vouches for it
    (tmp_path / f"step-000000007-{digest}.pt").write_bytes(raw)
    with pytest.raises((BenchError, pickle.UnpicklingError)):
        checkpoint.read(checkpoint.latest(tmp_path))


def test_weights_run_no_code(tmp_path, bomb):
    path = tmp_path / "weights.safetensors"
    torch.save({"encoder.w": bomb}, path)
    with pytest.raises(BenchError, match="cannot be read as safetensors"):
        transfer.read(path)
    evil = {"bench.manifest": "!!python/object/apply:os.system [x]"}
    head = json.dumps({"__metadata__": evil}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(BenchError, match="manifest is not JSON"):
        transfer.read(path)


HUGE = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(("head", "length"), [(HUGE, None), ({}, 1 << 60), ({}, 1 << 30)])
def test_weights_of_an_impossible_size_are_refused(tmp_path, head, length):
    raw = json.dumps(head).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", length or len(raw)) + raw + b"1234")
    with pytest.raises(BenchError, match="cannot be read as safetensors"):
        transfer.read(path)


# Arrays


@pytest.mark.parametrize("form", ["object array", "pickle"])
def test_arrays_of_objects_are_not_unpickled(tmp_path, bomb, form):
    write_prepared(tmp_path, {"c": {"image": np.ones((1, 4, 4, 4), np.int16)}})
    path = tmp_path / "index.npz"
    if form == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    else:
        with np.load(path) as found:
            columns = dict(found)
        np.savez(path, **{**columns, "rows": np.array([bomb], dtype=object)})
    with pytest.raises(BenchError, match=r"index\.npz: damaged"):
        Prepared(tmp_path)


def udf(inputs, output, offset):
    import pathlib

    pathlib.Path("MARK").touch()
    output[:] = 1


def frames(tmp_path):
    """Yield Blosc2 frames that are no arrays of numbers."""
    shape = (4, 4, 4)
    # one in memory is not saved
    operand = blosc2.ones(shape, urlpath=str(tmp_path / "one.b2nd"), mode="w")
    blosc2.lazyudf(udf, (operand,), np.float64, shape=shape).save(
        urlpath=str(tmp_path / "lazy.b2nd")
    )
    yield (tmp_path / "lazy.b2nd").read_bytes()  # a recipe for code
    yield blosc2.SChunk(data=b"x" * 64).to_cframe()
    # marked as an object
    yield blosc2.asarray(np.ones(shape), meta={"b2o": {"kind": "c2array"}}).to_cframe()
    yield blosc2.asarray(np.ones(shape), meta={"proxy-source": {}}).to_cframe()  # as a proxy
    yield b"\x9e\xa8b2frame\x00" + bytes(200)
    yield b""
    # read as objects these would be addresses
    numbers = blosc2.asarray(np.full(shape, 7, "i8")).to_cframe()
    for kind in (b"|O8", b"|S8", b"|V8", b"<M8"):
        yield numbers.replace(b"<i8", kind)


def test_a_pack_gives_arrays_of_numbers_or_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = list(frames(tmp_path))
    for number, raw in enumerate(seen):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "image-000.b2").write_bytes(raw)
        entry = {"file": "image-000.b2", "start": 0, "length": len(raw), "meta": {}}
        (folder / "image.json").write_text(json.dumps({"c": entry}))
        with pytest.raises(BenchError, match=r"damaged|no array of numbers"):
            Pack(folder, "image")["c"]
    assert len(seen) == 10 and not list(tmp_path.rglob("MARK"))


def test_an_extension_of_a_nifti_file_is_never_read(tmp_path, bomb):
    image = nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    for code in (0, 4, 6, 30):  # 30: Python's own pickles, as some tools leave them
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, pickle.dumps(bomb)))
    image.to_filename(tmp_path / "a.nii")
    assert (read_volume(tmp_path / "a.nii").array == 1).all()


def test_fields_of_an_nrrd_file_are_not_evaluated(tmp_path, bomb):
    header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    evil = f"__import__('pathlib').Path('{bomb.path}').touch()"
    for field in ("content: ", "key:=", "space directions: ", "spacings: ", "kinds: "):
        (tmp_path / "a.nrrd").write_bytes(f"{header}{field}{evil}\n\n".encode() + b"12345678")
        try:
            read_volume(tmp_path / "a.nrrd")
        except BenchError as error:
            assert "\n" not in str(error)


# Records, and what lies beside them


@pytest.fixture
def sent(records_of):
    """Return the folder of records, and a function that draws the report of what lies there."""
    store, left = records_of
    return store.root / "records", left()


def test_records_with_a_type_made_of_a_pickle_run_no_code(sent, bomb):
    folder, draw = sent
    table = pq.read_table(folder / "attack.parquet")
    name, value = b"arrow.py_extension_type", pickle.dumps(bomb)
    marks = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": value}
    fields = [f.with_metadata(marks) if f.name == "job" else f for f in table.schema]
    pq.write_table(table.cast(pa.schema(fields, table.schema.metadata)), folder / "attack.parquet")
    assert draw().page.exists()


def test_what_is_no_table_of_records_is_refused_by_name(sent, bomb):
    folder, draw = sent
    view = folder / "attack.parquet"
    whole = view.read_bytes()
    lacking, texts = io.BytesIO(), io.BytesIO()
    pd.read_parquet(view).drop(columns="case").to_parquet(lacking)
    pd.read_parquet(view).assign(value="much").to_parquet(texts)
    noise = b"PAR1" + b"\xff" * 99 + b"PAR1"
    tables = lacking.getvalue(), texts.getvalue()
    for raw in (pickle.dumps(bomb), b"", b"PAR1", whole[:-9], noise, *tables):
        view.write_bytes(raw)
        with pytest.raises(BenchError, match="not a file of records") as error:
            draw()
        one_line(error)


def test_what_lies_beside_records_is_plain_json_of_known_fields(sent, bomb):
    folder, draw = sent
    beside = folder / "attack.json"
    values = [{"costs": [{"x": 1}]}, {"sources": {"a": {"cite": "c"}}}, {"costs": 5}]
    values += [{"titles": []}, {"failures": [{"__reduce__": "x"}]}, {"curves": {"a": 5}}]
    deep = (b"[" * 200_000, b'{"a":' * 200_000, b"9" * 9000, b"[]")
    for raw in (*(json.dumps(value).encode() for value in values), pickle.dumps(bomb), *deep):
        beside.write_bytes(raw)
        with pytest.raises(BenchError, match="damaged") as error:
            draw()
        one_line(error)


# YAML and JSON


YAML = (
    "!!python/object/apply:pathlib.Path.touch [MARK]",
    "!!python/object/new:os.system ['touch MARK']",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:bench.store.Store {}",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch MARK']",
    "!unknown {a: 1}",
)


@pytest.mark.parametrize("text", YAML)
def test_yaml_makes_no_objects(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    for body in (text, f"title: {text}", f"? {text}\n: 1"):
        path.write_text(body)
        with pytest.raises(BenchError) as error:
            read(path)
        assert str(path) in one_line(error)
    try:
        assert json.dumps(scalar(text))  # a tag on a list or mapping is passed over: plain values
    except BenchError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "MARK").exists()
