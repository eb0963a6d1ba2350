"""The index of a prepared data set: one row per case, read at once however many there are.

``index.npz`` holds one array of rows (fixed width) and lists of texts (UTF-8 and where each ends): case
ids, patients, meta as JSON, names of the files that the frames lie in. 100 000 rows are 25 MB.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.data.cache import AGAIN, Packed, Place, opened_frame
from bench.data.npz import Arrays
from bench.dataset import Case
from bench.digest import stamp
from bench.errors import BenchError, Damaged, shown
from bench.volumes.header import MAX_BYTES
from bench.volumes.resampling import Geometry

NAME = "index.npz"
TEXTS = ("case", "patient", "meta", "shard")
FAULT = "fault"  # the texts of cases that could not be read; files of before there were any lack it
EDGES = "edges"  # (cases, 3, 3), mm, zeros where axes are at right angles; files without such a case lack it
SHARD = re.compile(r"shard-[0-9]{4,9}\.b2")
FRAMES = ("image", "label", "native", "fingerprint", "foreground", "classes")
FRAME = np.dtype([("file", "<i4"), ("start", "<i8"), ("length", "<i8"), ("crc", "<u4")])
ROW = np.dtype(
    [
        ("class", "<i4"),  # -1 where a case has none
        ("content", "u1", (16,)),  # digest of the files it was made of
        ("step", "<f8"),
        ("offset", "<f8"),  # a step of 0: the case could not be read and has no frames
        ("native_shape", "<i4", (3,)),
        ("native_spacing", "<f8", (3,)),
        ("box", "<i4", (3, 2)),
        ("shape", "<i4", (3,)),
        ("frames", FRAME, (len(FRAMES),)),  # of length 0 where there is none
    ]
)
HUGE = 1e30  # a step, offset or spacing above it is none
LARGEST = 1 << 20  # voxels along one axis


class Index:
    """An opened index. A frame is compared with its checksum once, before anything of it is read.

    Raises:
        Damaged: it is damaged, does not fit the files beside it or leads elsewhere; names the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamp = stamp(folder / NAME)
        arrays = Arrays(folder / NAME)
        self.rows, frames = arrays["rows"], arrays["frames"]
        try:
            self.cases, self.patients, self.metas, self.files = (
                _texts(arrays[name], arrays[f"{name}_ends"]) for name in TEXTS
            )
            self._edges, faults = None, [""] * len(self.cases)
            if EDGES in arrays:
                self._edges = arrays[EDGES]
            if FAULT in arrays:
                faults = _texts(arrays[FAULT], arrays[f"{FAULT}_ends"])
            self._check(frames, faults)
        except (ValueError, TypeError, OverflowError) as error:
            raise Damaged(folder / NAME, str(error)) from None
        self._numbers = {case: number for number, case in enumerate(self.cases)}
        self._checked = np.zeros((len(self.rows), len(FRAMES)), bool)
        self.faults = {case: fault for case, fault in zip(self.cases, faults, strict=True) if fault}

    def _check(self, frames: np.ndarray, faults: list[str]) -> None:
        if (
            bytes(frames) != ",".join(FRAMES).encode()
            or self.rows.dtype != ROW
            or self.rows.ndim != 1
        ):
            raise ValueError("its columns are others")
        columns = {len(self.cases), len(self.patients), len(self.metas), len(set(self.cases))}
        if columns != {len(self.rows)}:
            raise ValueError("its columns differ in length, or a case is there twice")
        if [not fault for fault in faults] != (self.rows["step"] != 0).tolist():
            raise ValueError("what could not be read is not what has no frames")
        if self._edges is not None and not (
            self._edges.shape == (len(self.rows), 3, 3) and (np.abs(self._edges) < HUGE).all()
        ):
            raise ValueError("edges of voxels that are none")
        for name in self.files:
            if not SHARD.fullmatch(name):
                raise ValueError(f"its index names {shown(name)}, no file beside it")
        if fault := wrong(self.rows, [_size(self.folder / name) for name in self.files]):
            raise ValueError(fault)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, case: str) -> bool:
        return case in self._numbers

    def row(self, case: str) -> np.void:
        """Return what is known of a case, as ``ROW`` says."""
        return self.rows[self.number(case)]

    def number(self, case: str) -> int:
        """Return which row is a case's."""
        if case not in self._numbers:
            raise BenchError(f"{self.folder}: its index lacks case {shown(case)}; {AGAIN}")
        return self._numbers[case]

    def meta(self, number: int) -> dict[str, str]:
        """Return what the data set says of the case in a row beyond its patient."""
        text = self.metas[number]
        try:
            meta = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            meta = None
        if not isinstance(meta, dict) or not all(isinstance(v, str) for v in meta.values()):
            raise Damaged(self.folder / NAME, f"meta {shown(text)}")
        return meta

    def geometry(self, case: str) -> Geometry:
        """Return how a case's prepared grid lies in its native one."""
        row = self.row(case)
        names = ("native_shape", "native_spacing", "box", "shape")
        grid = Geometry(*(row[name].tolist() for name in names))
        edges = None if self._edges is None else self._edges[self.number(case)]
        return (
            grid if edges is None or not edges.any() else replace(grid, native_edges=edges.tolist())
        )

    def has(self, case: str, frame: str) -> bool:
        """Tell whether a case has a frame of this name."""
        return self.row(case)["frames"][FRAMES.index(frame)]["length"] > 0

    def packed(self, case: str, frame: str) -> Packed:
        """Open one frame of a case, to be decoded box by box.

        Raises:
            Damaged: its checksum is another, or it is no array of numbers.
        """
        span = self.place(case, frame)
        at = self.number(case), FRAMES.index(frame)
        if not self._checked[at]:  # reads all of it: 4 GB/s, and once in a process
            span.check()
            self._checked[at] = True
        return opened_frame(span)

    def whole(self, case: str, frame: str) -> np.ndarray:
        """Decode one frame of a case; raises as ``packed``."""
        packed, span = self.packed(case, frame), self.place(case, frame)
        # a few bytes can stand for any number
        if math.prod(packed.shape) * packed.dtype.itemsize > MAX_BYTES:
            raise Damaged(Path(span.path), f"{packed.shape} voxels", f"byte {span.start}")
        return packed[...]

    def place(self, case: str, frame: str) -> Place:
        """Return where a frame lies."""
        if case in self.faults:
            raise BenchError(
                f"{self.folder}: case {shown(case)} could not be read ({self.faults[case]})"
            )
        file, start, length, crc = self.row(case)["frames"][FRAMES.index(frame)].item()
        if not length:
            raise BenchError(
                f"{self.folder}: its index lacks the {frame} of case {shown(case)}; {AGAIN}"
            )
        return Place(str(self.folder / self.files[file]), start, length, crc, self._stamp)


def write(
    folder: Path,
    rows: np.ndarray,
    cases: Sequence[Case],
    files: Sequence[str],
    faults: Mapping[str, str],
    edges: Mapping[str, np.ndarray],
) -> None:
    """Write ``index.npz``.

    Args:
        folder: the prepared data set's.
        rows: as ``ROW`` says, one for each case.
        cases: in the same order.
        files: names of the shards.
        faults: by case id, why it could not be read.
        edges: by case id, the edges of a voxel where axes are not at right angles, (3, 3) in mm.
    """
    metas = [json.dumps(c.meta, sort_keys=True) if c.meta else "" for c in cases]
    reasons = [faults.get(c.id, "") for c in cases]
    columns = ([c.id for c in cases], [c.patient for c in cases], metas, files, reasons)
    texts = {}
    for name, values in zip((*TEXTS, FAULT), columns, strict=True):
        raw = [value.encode() for value in values]
        texts[name] = np.frombuffer(b"".join(raw), np.uint8)
        texts[f"{name}_ends"] = np.cumsum([len(value) for value in raw], dtype=np.int64)
    if edges:
        texts[EDGES] = np.stack([edges.get(c.id, np.zeros((3, 3))) for c in cases])
    order = np.frombuffer(",".join(FRAMES).encode(), np.uint8)
    np.savez(folder / NAME, allow_pickle=False, rows=rows, frames=order, **texts)


def _texts(blob: np.ndarray, ends: np.ndarray) -> list[str]:
    if blob.dtype != np.uint8 or ends.dtype != np.int64 or blob.ndim != 1 or ends.ndim != 1:
        raise ValueError("its texts are no texts")
    starts = np.concatenate([[0], ends[:-1]]) if ends.size else ends
    if (ends < starts).any() or (ends[-1] if ends.size else 0) != blob.size:
        raise ValueError("its texts end nowhere")
    raw = blob.tobytes()
    return [raw[a:b].decode() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def wrong(rows: np.ndarray, sizes: Sequence[int]) -> str:
    """Return in words what of rows cannot be, given the sizes of their files; empty where all can."""
    frames, read = rows["frames"], rows["step"] != 0
    start, length, box = frames["start"], frames["length"], rows["box"]
    room = np.array([*sizes, 0])[np.clip(frames["file"], 0, len(sizes))] - start
    shapes = np.stack([rows["shape"], rows["native_shape"]])
    with np.errstate(invalid="ignore"):
        scaled = (np.abs(rows["step"]) < HUGE) & (np.abs(rows["offset"]) < HUGE)
        spaced = (rows["native_spacing"] > 0) & (rows["native_spacing"] < HUGE)
        outside = (
            (box[..., 0] < 0) | (box[..., 0] >= box[..., 1]) | (box[..., 1] > rows["native_shape"])
        )
        faults = {
            "a class below -1": rows["class"] < -1,
            "a step or offset that is no number": ~scaled,
            "a spacing that is none": ~spaced,
            "a shape that is none": (shapes < 1) | (shapes > LARGEST),
            "more voxels than a file may hold": np.prod(shapes, axis=-1, dtype=np.float64)
            > MAX_BYTES,
            "a box outside its volume": outside,
            "a frame outside its file": (length > 0)
            & ((start < 0) | (frames["file"] < 0) | (length > room)),
            "a frame of no length": (length < 0) | (length == 0) & _needed(frames, read),
            "frames of a case that could not be read": (length > 0) & ~read[:, np.newaxis],
        }
    return next((what for what, where in faults.items() if where.any()), "")


def _needed(frames: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Return which frames must be there: the image, if read; of label and native map, both or none."""
    needed = np.zeros(frames.shape, bool)
    needed[:, FRAMES.index("image")] = read
    a, b = FRAMES.index("label"), FRAMES.index("native")
    needed[:, a], needed[:, b] = frames["length"][:, b] > 0, frames["length"][:, a] > 0
    return needed


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError as error:
        raise Damaged(path, error.strerror or str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is no regular file")
    return status.st_size
