"""What a person brings as data: NIfTI, NRRD, MetaImage and a folder in MSD layout, damaged, then read."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import mutate
import nibabel as nib
import nrrd
import numpy as np
from target import Target, tried

from bench.data import check
from bench.data.roots import Contents, Roots, adapter
from bench.dataset import Case
from bench.phantoms.organs import write_metaimage
from bench.volumes.reading import check_finite, read_header, read_label, read_volume

GRID = (5, 4, 3)
TURNED = np.array([[-1.5, 0, 0, 10], [0, 0, 2.0, -5], [0, 1.0, 0, 3], [0, 0, 0, 1]])


def nifti_bytes() -> list[tuple[bytes, np.dtype]]:
    """Return small valid single files: both versions, both byte orders, scaled, with channels."""
    count = np.arange(60, dtype=np.int16).reshape(GRID)
    found = []
    for kind, layout in (
        (nib.Nifti1Image, nib.nifti1.header_dtype),
        (nib.Nifti2Image, nib.nifti2.header_dtype),
    ):
        for array in (count, count.astype(np.uint8) % 3, np.stack([count, -count], -1).astype(np.float32)):
            image = kind(array, TURNED)
            image.header.set_slope_inter(2.0, 0.5 if array.dtype == np.int16 else 0.0)
            found.append((image.to_bytes(), layout))
        swapped = kind(count, TURNED, kind.header_class(endianness=">"))
        found.append((swapped.to_bytes(), layout.newbyteorder(">")))
    return found


def read_all(path: Path) -> None:
    """Read a file in every way that the project does; what the header promises, the voxels keep."""
    header = tried(read_header, path)
    volume = tried(read_volume, path)
    label = tried(read_label, path, volume)
    if volume is not None:
        tried(check_finite, volume)
        assert header is not None, f"{path}: voxels are read and the header is refused"
        assert volume.array.shape == (header.channels, *header.shape)
        assert np.isfinite(volume.affine).all() and min(volume.spacing) > 0
    if label is not None:
        assert label.array.dtype.kind in "iu" and label.array.ndim == 3


class Nifti(Target):
    """``.nii`` and ``.nii.gz``, versions 1 and 2."""

    name, slow = "nifti", 60_000

    def __init__(self, folder: Path) -> None:
        self.folder, self.originals = folder, nifti_bytes()

    def once(self, rng: random.Random) -> None:
        raw, layout = rng.choice(self.originals)
        if rng.random() < 0.6:
            raw = mutate.fields(rng, raw, layout)
        if rng.random() < 0.5:
            raw = mutate.damaged(rng, raw)
        if rng.random() < 0.1:
            other = rng.choice(self.originals)[0]
            cut = rng.randrange(min(len(raw), len(other)) or 1)
            raw = raw[:cut] + other[cut:]
        path = self.folder / rng.choice(("x.nii", "x.nii", "x.nii.gz"))
        path.write_bytes(mutate.zipped(rng, raw) if path.suffix == ".gz" else raw)
        read_all(path)


NRRD_WORDS = (
    "3", "4", "5 4 3", "5 4 3 1", "-5 -4 3",
    "(1,0,0) (0,1,0) (0,0,1)", "(1,0,0) none (0,0,1)", "none none none", "(nan,0,0) (0,1,0) (0,0,1)",
    "(1,0) (0,1)",
    "(1,0,0)", "(1e300,0,0) (0,1e300,0) (0,0,1e300)", "(0,0,0)", "2147483648 2147483648 2147483648",
    "raw", "gzip",
    "bzip2", "hex", "ascii", "block", "float", "double", "unsigned char", "int64", "little", "big",
    "LIST", "./x.raw",
    "left-posterior-superior", "scanner-xyz", "domain domain domain", "1,2,3", "((1,0,0)", "(,,)",
    '"a" "b"', "1 2 x",
)  # fmt: skip


def _nrrd_value(rng: random.Random) -> str:
    return str(
        rng.choice(rng.choice((mutate.TEXTS[:34], mutate.INTEGERS, mutate.FLOATS, NRRD_WORDS, NRRD_WORDS)))
    )


class Nrrd(Target):
    """``.nrrd``: raw and gzip, with channels, spacings only, and a header that names other files."""

    name, slow = "nrrd", 20_000

    def __init__(self, folder: Path) -> None:
        self.folder, self.originals = folder, []
        array = np.arange(60, dtype=np.int16).reshape(GRID)
        where = {
            "space": "left-posterior-superior",
            "space directions": TURNED[:3, :3],
            "space origin": [1, 2, 3],
        }
        channels = {**where, "space directions": np.vstack([[np.nan] * 3, TURNED[:3, :3]]),
                    "kinds": ["vector", "domain", "domain", "domain"]}  # fmt: skip
        for data, header in (
            (array, where), (array.astype(np.float64), {"spacings": [1.0, 2.0, 3.0]}),
            (array.astype(np.uint8), where), (np.stack([array, array]), channels),
        ):  # fmt: skip
            for encoding in ("raw", "gzip"):
                nrrd.write(str(folder / "x.nrrd"), data, {**header, "encoding": encoding})
                self.originals.append((folder / "x.nrrd").read_bytes())
        (folder / "x.raw").write_bytes(array.tobytes())

    def once(self, rng: random.Random) -> None:
        raw = rng.choice(self.originals)
        head, _, data = raw.partition(b"\n\n")
        if rng.random() < 0.75:
            head = self._lines(rng, head)
        raw = head + rng.choice((b"\n\n", b"\n\n", b"\n\n", b"\r\n\r\n", b"\n")) + data
        if rng.random() < 0.4:
            raw = mutate.damaged(rng, raw)
        path = self.folder / "y.nrrd"
        path.write_bytes(raw)
        read_all(path)

    def _lines(self, rng: random.Random, head: bytes) -> bytes:
        lines = head.decode("latin-1").splitlines()
        for _ in range(rng.randint(1, 4)):
            at, kind = rng.randrange(len(lines)), rng.randrange(6)
            key = lines[at].partition(":")[0]
            if kind == 0 and len(lines) > 1:
                del lines[at]
            elif kind == 1:
                lines.insert(at, rng.choice(lines))
            elif kind == 2:
                fields = ("data file", "byte skip", "line skip", "content", "kinds", "labels", "centers",
                "min", "units",
                          "measurement frame", "space dimension", "thicknesses", "number",
                          "axis mins")  # fmt: skip
                lines.insert(at, f"{rng.choice(fields)}: {_nrrd_value(rng)}")
            elif kind == 3:
                words = lines[at].split(" ")
                words[rng.randrange(len(words))] = _nrrd_value(rng)
                lines[at] = " ".join(words)
            else:
                lines[at] = f"{key}{rng.choice((': ', ': ', ': ', ':', ':='))}{_nrrd_value(rng)}"
        return "\n".join(lines).encode("utf-8", "replace")


META_WORDS = (
    "MET_SHORT", "MET_UCHAR", "MET_DOUBLE", "MET_LONG", "MET_OTHER", "True", "False", "LOCAL", "LIST",
    "x.raw", "x.zraw", "./x.raw", "../x.raw", "x%d.raw", "0 1 0 1 0 0 0 0 1", "1 0 0 0 1 0 0 0 1",
    "1 0 0 0 2 0 0 0 1", "1e200 0 0 0 1 0 0 0 1", "5 4 3", "3 4 5", "5 4", "0 4 3", "2147483648 1 1",
    "99999 99999 99999", "1e300 1 1", "nan 1 1", "3", "4", "-1",
)  # fmt: skip
META_FIELDS = (
    "ElementSize", "HeaderSize", "ElementNumberOfChannels", "Orientation", "Position", "CompressedDataSize",
    "ElementByteOrderMSB", "Comment", "DimSize", "ElementDataFile",
)  # fmt: skip


class MetaImage(Target):
    """``.mhd`` and ``.mha``, plain and compressed: damaged headers, damaged voxels beside them."""

    name, slow = "metaimage", 20_000

    def __init__(self, folder: Path) -> None:
        self.folder, self.originals = folder, []
        array = np.arange(60, dtype=np.int16).reshape(GRID)
        for dtype, packed in (("int16", False), ("uint8", False), ("int16", True), ("uint8", True)):
            write_metaimage(folder / "x.mhd", array, (1.0, 2.0, 3.0), dtype, "PIR", packed)
            head = (folder / "x.mhd").read_text()
            data = folder / head.rpartition("= ")[2].strip()
            self.originals.append((head, data.name, data.read_bytes()))

    def once(self, rng: random.Random) -> None:
        head, name, data = rng.choice(self.originals)
        attached = rng.random() < 0.3
        lines = head.replace(name, "LOCAL" if attached else name).splitlines()
        for _ in range(rng.randint(0, 3)):
            self._change(rng, lines)
        raw = rng.choice(("\n", "\n", "\r\n")).join(lines).encode("utf-8", "replace") + b"\n"
        if rng.random() < 0.3:
            raw = mutate.damaged(rng, raw)
        if rng.random() < 0.4:
            data = mutate.damaged(rng, data)
        path = self.folder / ("y.mha" if attached else "y.mhd")
        (self.folder / name).write_bytes(data)
        path.write_bytes(raw + data if attached else raw)
        read_all(path)
        Contents(None).digest([Case("y", "y", (path,))])

    def _change(self, rng: random.Random, lines: list[str]) -> None:
        at = rng.randrange(len(lines))
        words = (META_WORDS, META_WORDS, mutate.TEXTS, mutate.INTEGERS, mutate.FLOATS)
        value = rng.choice(rng.choice(words))
        kind = rng.randrange(5)
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(at, rng.choice(lines))
        elif kind == 2:
            lines.insert(at, f"{rng.choice(META_FIELDS)} = {value}")
        else:
            lines[at] = f"{lines[at].partition(' =')[0]} = {value}"


class Msd(Target):
    """A folder of tiny files whose ``dataset.json`` is damaged, as any adapter and ``check`` see it."""

    name, slow = "msd", 8_000

    def __init__(self, folder: Path) -> None:
        self.data, self.home = folder, folder / "mine"
        image, label = nifti_bytes()[:2]
        for part, raw in (("imagesTr", image[0]), ("labelsTr", label[0]), ("imagesTs", image[0])):
            (self.home / part).mkdir(parents=True)
            for stem in ("case_1", "case_2")[: 1 if part == "imagesTs" else 2]:
                name = f"{stem}{'9' * (part == 'imagesTs')}.nii.gz"
                (self.home / part / name).write_bytes(gzip.compress(raw, 1, mtime=0))
        stems = ("case_1", "case_2")
        pairs = [{"image": f"./imagesTr/{s}.nii.gz", "label": f"./labelsTr/{s}.nii.gz"} for s in stems]
        self.listings = [
            {"name": "Mine", "reference": "us", "licence": "CC", "tensorImageSize": "3D",
            "modality": {"0": "CT"},
             "labels": {"0": "background", "1": "left", "2": "right"}, "numTraining": 2, "numTest": 1,
             "training": pairs, "test": ["./imagesTs/case_19.nii.gz"]},
            {"channel_names": {"0": "T1"}, "labels": {"background": 0, "left": 1, "right": 2},
            "numTraining": 2,
             "file_ending": ".nii.gz", "training": ["./imagesTr/case_1.nii.gz"]},
        ]  # fmt: skip

    def once(self, rng: random.Random) -> None:
        raw = mutate.as_json(rng, rng.choice(self.listings))
        (self.home / "dataset.json").write_bytes(raw)
        roots = Roots(self.data, {"msd04_hippocampus": self.home})
        for name in ("mine", "msd04_hippocampus"):
            dataset = tried(adapter, name, roots)
            cases = dataset and tried(dataset.cases, self.home)
            if cases:
                tried(dataset.missing, self.home)
                tried(Contents(None).header_faults, cases, len(dataset.channels))
        if cases and rng.random() < 0.1:
            found = tried(check.check, dataset, self.home)
            json.dumps([vars(f) for f in found or ()])
