"""What a person brings as data: NIfTI, NRRD, MetaImage and a folder in MSD layout, damaged, then read."""

import gzip
import json

import nibabel as nib
import nrrd
import numpy as np
from hypothesis import strategies as st
from target import Folder, tried

from bench.data import check
from bench.data.roots import Contents, Roots, adapter
from bench.dataset import Case
from bench.phantoms.organs import write_metaimage
from bench.volumes.reading import check_finite, read_header, read_label, read_volume

COUNT = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
TURNED = np.array([[-1.5, 0, 0, 10], [0, 0, 2.0, -5], [0, 1.0, 0, 3], [0, 0, 0, 1]])


def nifti_bytes():
    """Return small valid single files: both versions, both byte orders, scaled, with channels."""
    found = []
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        for array in (
            COUNT,
            COUNT.astype(np.uint8) % 3,
            np.stack([COUNT, -COUNT], -1).astype(np.float32),
        ):
            image = kind(array, TURNED)
            image.header.set_slope_inter(2.0, 0.5 if array.dtype == np.int16 else 0.0)
            found.append(image.to_bytes())
        found.append(kind(COUNT, TURNED, kind.header_class(endianness=">")).to_bytes())
    return found


class Volumes(Folder):
    """``.nii`` and ``.nii.gz``; ``.nrrd``, raw and gzip; ``.mhd`` and ``.mha``, plain and compressed."""

    def make(self):
        for number, raw in enumerate(nifti_bytes()):
            (self.folder / f"{number}.nii").write_bytes(raw)
            (self.folder / f"{number}.nii.gz").write_bytes(gzip.compress(raw, 1, mtime=0))
        where = {
            "space": "left-posterior-superior",
            "space directions": TURNED[:3, :3],
            "space origin": [1, 2, 3],
        }
        channels = {
            **where,
            "space directions": np.vstack([[np.nan] * 3, TURNED[:3, :3]]),
            "kinds": ["vector", "domain", "domain", "domain"],
        }
        for name, data, header in (
            ("a", COUNT, where),
            ("b", COUNT.astype(np.float64), {"spacings": [1.0, 2.0, 3.0]}),
            ("c", COUNT.astype(np.uint8), where),
            ("d", np.stack([COUNT, COUNT]), channels),
        ):
            for how in ("raw", "gzip"):
                nrrd.write(
                    str(self.folder / f"{name}{how}.nrrd"), data, {**header, "encoding": how}
                )
        for dtype, packed in (("int16", False), ("uint8", False), ("int16", True), ("uint8", True)):
            path = self.folder / f"{dtype}{'packed' * packed}.mhd"
            write_metaimage(path, COUNT, (1.0, 2.0, 3.0), dtype, "PIR", packed)
            data = self.folder / path.read_text().rpartition("= ")[2].strip()
            head = path.read_text().replace(data.name, "LOCAL")
            path.with_suffix(".mha").write_bytes(head.encode() + data.read_bytes())

    def group(self, path):
        return path.suffix.replace("zraw", "raw")

    def read(self, draw, path):
        """Read a file in every way that the project does; what the header promises, the voxels keep."""
        path = path.with_suffix(".mhd") if "raw" in path.suffix else path
        header, volume = tried(read_header, path), tried(read_volume, path)
        label = tried(read_label, path, volume)
        if volume is not None:
            tried(check_finite, volume)
            assert header is not None, f"{path}: voxels are read and the header is refused"
            assert volume.array.shape == (header.channels, *header.shape)
            assert np.isfinite(volume.affine).all() and min(volume.spacing) > 0
        if label is not None:
            assert label.array.dtype.kind in "iu" and label.array.ndim == 3
        Contents(None).digest([Case("y", "y", (path,))])


class Msd(Folder):
    """Two folders of tiny files with a ``dataset.json``, as any adapter and ``check`` see them."""

    def make(self):
        image, label = nifti_bytes()[:2]
        pairs = [
            {"image": f"./imagesTr/{s}.nii.gz", "label": f"./labelsTr/{s}.nii.gz"} for s in "ab"
        ]
        listings = {
            "mine": {
                "name": "Mine",
                "reference": "us",
                "licence": "CC",
                "tensorImageSize": "3D",
                "modality": {"0": "CT"},
                "labels": {"0": "background", "1": "left", "2": "right"},
                "numTraining": 2,
                "numTest": 1,
                "training": pairs,
                "test": ["./imagesTs/c.nii.gz"],
            },
            "other": {
                "channel_names": {"0": "T1"},
                "labels": {"background": 0, "left": 1, "right": 2},
                "numTraining": 2,
                "file_ending": ".nii.gz",
                "training": ["./imagesTr/a.nii.gz"],
            },
        }
        files = {
            "imagesTr/a": image,
            "imagesTr/b": image,
            "labelsTr/a": label,
            "labelsTr/b": label,
            "imagesTs/c": image,
        }
        for home, listing in listings.items():
            for name, raw in files.items():
                path = self.folder / home / f"{name}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(gzip.compress(raw, 1, mtime=0))
            (self.folder / home / "dataset.json").write_text(json.dumps(listing))

    def group(self, path):
        return path.suffix * (path.suffix == ".json")

    def read(self, draw, path):
        home, cases, whole = path.parent, None, draw(st.integers(0, 9)) == 9
        roots = Roots(self.folder, {"msd04_hippocampus": home})
        for name in (home.name, "msd04_hippocampus"):
            dataset = tried(adapter, name, roots)
            cases = dataset and tried(dataset.cases, home)
            if cases:
                tried(dataset.missing, home)
                tried(Contents(None).header_faults, cases, len(dataset.channels))
        if cases and whole:
            json.dumps([vars(f) for f in tried(check.check, dataset, home) or ()])
