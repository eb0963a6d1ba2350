"""What lies below a data set's folder and belongs to no case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from bench.dataset import Case, Dataset, clean, files_of
from bench.errors import BenchError
from bench.volumes import metaimage
from bench.volumes.files import is_picture, is_volume, within

DEPTH = 6  # levels below a data set's folder that are searched
Left = tuple[Path, str, str]  # path, kind as in ``bench.volumes.header.KINDS``, detail


def leftovers(dataset: Dataset, root: Path, cases: Sequence[Case], absent: Collection[Path]) -> list[Left]:
    """Return volumes of no case that the layout does not know, voxels of no header, empty folders.

    Pictures count where the cases consist of them; elsewhere they are previews or a project's logo.
    A folder of nothing but such pictures is one finding.

    Args:
        dataset: the declaration.
        root: its folder.
        cases: what is read.
        absent: files that are known to be missing; the folders they lack from need no finding.
    """
    read = {path for case in cases for path in files_of(case)}
    pictures = not all(is_volume(path) for path in read)
    there = within(root, DEPTH)
    known = read | {data for path in there for data in _voxels_of(path)}
    strange = [
        path
        for path in there
        if (is_volume(path) or _is_voxels(path) or (pictures and is_picture(path)))
        and not {path, path.parent} & known  # some unzippers make a folder img.nii.gz/
        and not any(path.match(pattern) for pattern in dataset.unread)
    ]
    homes = {path.parent for path in read}
    counts = Counter(path.parent for path in strange if is_picture(path) and path.parent not in homes)
    many = {folder: n for folder, n in counts.items() if n > 1}
    found = [_stranger(path) for path in strange if path.parent not in many]
    found += [(folder, "extra", f"its {n} pictures belong to no case") for folder, n in many.items()]
    return found + _empty(there, {*known, *absent})


def _stranger(path: Path) -> Left:
    return path, "extra", "voxels of no header" if _is_voxels(path) else "belongs to no case"


def _empty(there: Sequence[Path], known: set[Path]) -> list[Left]:
    """Return folders that hold nothing: what was unpacked into them is gone, or never came."""
    needed = {path.parent for path in there} | {path.parent for path in known}
    return [
        (path, "missing", "an empty folder")
        for path in there
        if path not in needed and path not in known
        if not (is_volume(path) or is_picture(path)) and path.is_dir() and not clean(path.iterdir())
    ]


def _is_voxels(path: Path) -> bool:
    return path.suffix.lower() in (".raw", ".zraw")


def _voxels_of(path: Path) -> set[Path]:
    """Return the file that a MetaImage's header names, where it names one."""
    with suppress(BenchError):  # whoever reads the header will see
        return {metaimage.data_file(path)} if path.suffix.lower() == ".mhd" else set()
    return set()
