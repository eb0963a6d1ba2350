"""Folders in the layout of the Medical Segmentation Decathlon.

``imagesTr/<stem>.nii.gz`` with ``labelsTr/<stem>.nii.gz``, unlabelled ``imagesTs``, and a
``dataset.json``. nnU-Net's variant (one file per channel, ``<stem>_0000.nii.gz``) is read too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.dataset import VOID, Case, Dataset, Recipe, natural
from bench.errors import BenchError, shown
from bench.source import Source
from bench.volumes.files import dicom_inside, inside, is_volume, nameable, stem

CHANNEL = re.compile(r"_\d{4}$")
LARGEST = 65535  # raw label values; masks are stored as 8 or 16 bits
IGNORE = "ignore"  # the name of nnU-Net's label of voxels that nobody labelled
EXAMPLE = '{"labels": {"0": "background", "1": "liver"}, "modality": {"0": "CT"}}'
ABDOMEN = (-175.0, 250.0)  # HU; Swin-UNETR's window, the usual one for soft tissue


class MSDLayout(Dataset):
    """Any data set in this layout; a registered one declares its labels itself."""

    stems: ClassVar[str] = ""  # how its cases' names begin; the folder of another task is refused

    def cases(self, root: Path) -> list[Case]:
        """Return training cases (a file may be missing) and the unlabelled test scans."""
        root = Path(root)
        home = _home(root)
        if home is None:
            raise BenchError(
                f"{root}: no folder imagesTr with .nii.gz files{dicom_inside(root)}{_hint(self.unpack)}"
            )
        listing = read_listing(home)
        labels = _by_stem(home / "labelsTr")
        files = _by_stem(home / "imagesTr")
        listed = _listed(home, listing, files)
        suffixed = _suffixed(files, {*labels, *(listed or ())}, listing)
        images = _grouped(files, suffixed)
        keys = {*images, *(labels if listed is None else listed)}
        ordered = list(images) if len(keys) == len(images) else sorted(keys, key=natural)
        if not keys:
            there = dicom_inside(home / "imagesTr")
            raise BenchError(f"{home / 'imagesTr'}: no .nii.gz files{there}{_hint(self.unpack)}")
        found = [
            Case(
                key, key, images.get(key) or (home / "imagesTr" / f"{key}.nii.gz",),
                labels.get(key) or home / "labelsTr" / f"{key}.nii.gz", {"part": "training"},
            )
            for key in ordered
        ]  # fmt: skip
        labelled = _by_stem(home / "labelsTs")  # nnU-Net keeps some; the Decathlon published none
        held_back = _grouped(_by_stem(home / "imagesTs"), suffixed)
        tests = [Case(key, key, held_back[key], labelled.get(key), {"part": "test"}) for key in held_back]
        both = sorted(keys & {c.id for c in tests}, key=natural)
        if both:
            raise BenchError(f"{home}: {both[0]} lies in imagesTr and in imagesTs; remove one")
        strange = next((c for c in found + tests if not c.id.startswith(self.stems)), None)
        if strange is not None:
            raise BenchError(
                f"{strange.images[0]}: cases of {self.title} are named {self.stems}<number>; "
                f"is this another task's folder?{_hint(self.unpack)}"
            )
        return found + tests


class Decathlon(MSDLayout):
    """A task of the Medical Segmentation Decathlon itself: only what tells it from the others is stated."""

    source = Source(
        "Antonelli et al. 2022, The Medical Segmentation Decathlon, Nat. Commun. 13:4128",
        "http://medicaldecathlon.com",
    )
    licence = "CC BY-SA 4.0"
    redistribution = True
    archive: ClassVar[str]  # its name without suffix, such as Task06_Lung

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.title = f"MSD {cls.archive.replace('_', ' ')}"
        if "stems" not in vars(cls):
            cls.stems = f"{cls.archive.partition('_')[2].lower()}_"
        cls.unpack = (
            f"get {cls.archive}.tar from medicaldecathlon.com and unpack it so that "
            f"{cls.__module__.rpartition('.')[2]}/ holds imagesTr, labelsTr, imagesTs and dataset.json"
        )


def msd_folder(root: Path) -> Dataset:
    """Return the declaration that a folder's own ``dataset.json`` makes.

    Its default recipe keeps the spacing: window [-175, 250] HU for CT, z-score over non-zero
    voxels for anything else. Labels with gaps become contiguous in their order. Where a label of nnU-Net's is
    a list of values, all are regions, as nnU-Net's region-based training takes them. Its label ``ignore``
    is the value of voxels that nobody labelled.

    Raises:
        BenchError: no ``dataset.json``, or one without usable ``labels`` and ``modality``.
    """
    home = _home(root) or root
    path = home / "dataset.json"
    listing = read_listing(home)
    if not path.is_file():
        lacks = "" if home.joinpath("imagesTr").is_dir() else ", nor a folder imagesTr"
        lacks += dicom_inside(root)
        raise BenchError(f"{path}: no such file{lacks}; MSD layout is imagesTr, labelsTr and this: {EXAMPLE}")
    if not listing:
        raise BenchError(
            f"{path}: is empty; a folder in MSD layout needs its keys 'labels' (value to name) and "
            "'modality' (channel number to name): unpack it again, or write them"
        )
    raw, regions, ignore = _labels(path, listing)
    names = listing.get("modality", listing.get("channel_names"))
    if not isinstance(names, dict) or not names:
        raise BenchError(
            f'{path}: key \'modality\' {_lacks(names)}; it maps channels to names, {{"0": "CT"}}'
        )
    channels = tuple(str(names[key]) for key in sorted(names, key=natural))
    is_ct = all(name.upper() == "CT" for name in channels)
    recipe = Recipe(window=ABDOMEN) if is_ct else Recipe(scale="zscore", nonzero=True)
    ordered = sorted(raw)
    place = {value: i for i, value in enumerate(ordered, 1)}
    declared = {
        "source": Source(str(listing.get("reference") or listing.get("name") or root.name), ""),
        "title": str(listing.get("name") or root.name),
        "licence": str(listing.get("licence") or listing.get("license") or "not stated"),
        "modality": "CT" if is_ct else "MR",
        "channels": channels,
        "labels": {i: raw[value] for value, i in place.items()},
        "raw_labels": place if any(value != i for value, i in place.items()) else {},
        "regions": {name: tuple(place[v] for v in values) for name, values in regions.items()},
        "ignore": ignore,
        "recipes": {"default": recipe},
        "version": 2,  # nonzero scaling keeps zeros
        "person": lambda _, case: f"{root.name}:{case.patient}",
        "__doc__": f"The folder {root.name}, as its dataset.json describes it.",
    }
    return type("MSDFolder", (MSDLayout,), declared)()


def write_listing(
    root: Path, dataset: type[Dataset], name: str, stems: Sequence[str], tests: Sequence[str] = ()
) -> None:
    """Write the ``dataset.json`` of a phantom with these training and test cases."""
    listing = {
        "name": name, "description": "synthetic", "reference": dataset.source.cite,
        "licence": dataset.licence, "release": "phantom",
        "tensorImageSize": "4D" if len(dataset.channels) > 1 else "3D",
        "modality": {str(i): channel for i, channel in enumerate(dataset.channels)},
        "labels": {"0": "background", **{str(k): v for k, v in dataset.labels.items()}},
        "numTraining": len(stems), "numTest": len(tests),
        "training": [
            {"image": f"./imagesTr/{s}.nii.gz", "label": f"./labelsTr/{s}.nii.gz"} for s in stems
        ],
        "test": [f"./imagesTs/{s}.nii.gz" for s in tests],
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(listing, indent=1) + "\n")


def read_listing(home: Path) -> dict[str, Any]:
    """Return ``dataset.json``, or nothing where there is none.

    Raises:
        BenchError: it is no JSON object.
    """
    path = home / "dataset.json"
    if not path.is_file():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: not JSON ({error}); unpack it again, or remove it") from None
    if not isinstance(read, dict):
        raise BenchError(
            f"{path}: expected an object, got {type(read).__name__}; unpack it again, or remove it"
        )
    return read


def _home(root: Path) -> Path | None:
    """Return the folder that holds ``imagesTr``: this one, or the archive's own inside it."""
    if (root / "imagesTr").is_dir():
        return root
    inside = [p.parent for p in root.glob("*/imagesTr") if p.is_dir()] if root.is_dir() else []
    return inside[0] if len(inside) == 1 else None


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return every volume of a folder by its stem."""
    found: dict[str, Path] = {}
    files = inside(folder)
    for name in sorted(filter(is_volume, files)):
        key = stem(name)
        if key in found:
            raise BenchError(f"{files[name]}: {found[key].name} is the same case; remove one")
        found[key] = files[name]
    return found


def _listed(home: Path, listing: Mapping[str, Any], there: Container[str]) -> set[str] | None:
    """Return the stems of the training list, or None where there is no list; ``there``: those of files."""
    entries = listing.get("training")
    if not entries:
        return None
    rows = entries if isinstance(entries, list) else [None]
    stems = set()
    for name in (e.get("image") if isinstance(e, dict) else e for e in rows):
        if not isinstance(name, str) or ((key := stem(name)) not in there and not nameable(name)):
            raise BenchError(
                f"{home / 'dataset.json'}: training must list {{image, label}} names, got {shown(name)}"
            )
        stems.add(key)
    return stems


def _grouped(files: Mapping[str, Path], suffixed: bool) -> dict[str, tuple[Path, ...]]:
    """Return the image files of each case, cases in order of their numbers, files in that of channels."""
    grouped: dict[str, tuple[Path, ...]] = {}
    for key in sorted(files, key=natural):
        case = CHANNEL.sub("", key) if suffixed else key
        grouped[case] = (*grouped.get(case, ()), files[key])
    return dict(sorted(grouped.items(), key=lambda item: natural(item[0]))) if suffixed else grouped


def _suffixed(files: Mapping[str, Path], known: set[str], listing: Mapping[str, Any]) -> bool:
    """Tell nnU-Net's channel suffix from a case number of four digits."""
    if not files or known & set(files) or not all(CHANNEL.search(key) for key in files):
        return False
    return bool(known & {CHANNEL.sub("", key) for key in files}) or "channel_names" in listing


def _labels(
    path: Path, listing: Mapping[str, Any]
) -> tuple[dict[int, str], dict[str, tuple[int, ...]], int | None]:
    """Return value -> name without background, regions, and the value of voxels that nobody labelled.

    MSD writes ``{"1": "liver"}``, nnU-Net ``{"liver": 1}``.
    """
    labels = listing.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise BenchError(
            f'{path}: key \'labels\' {_lacks(labels)}; it maps values to names, {{"1": "liver"}}'
        )
    swapped = not all(str(key).lstrip("-").isdecimal() for key in labels)
    ignored = labels.get(IGNORE) if swapped else next((k for k, v in labels.items() if v == IGNORE), None)
    labels = {k: v for k, v in labels.items() if IGNORE not in ((k,) if swapped else (v,))}
    if ignored is not None and not _is_value(ignored):
        raise BenchError(
            f"{path}: labels: {IGNORE!r} needs one whole number up to {LARGEST}, got {shown(ignored)}"
        )
    several = swapped and any(isinstance(value, list) for value in labels.values())
    regions = _regions(path, labels) if several else {}
    if several:  # a value that no region has to itself has no name
        alone = {values[0]: name for name, values in regions.items() if len(values) == 1}
        every = sorted({value for values in regions.values() for value in values})
        labels = {alone.get(value, f"label {value}"): value for value in every}
    pairs = [(v, k) if swapped else (k, v) for k, v in labels.items()]
    found: dict[int, str] = {}
    for value, name in pairs:
        if not _is_value(value):
            raise BenchError(f"{path}: labels: {shown(value)} is no whole number from 0 to {LARGEST}")
        if not isinstance(name, str):
            raise BenchError(f"{path}: labels: the name of {value} must be text, got {shown(name)}")
        if int(value) in found:
            raise BenchError(f"{path}: labels: {value} is declared twice")
        found[int(value)] = name
    ignore = None if ignored is None else int(ignored)
    if ignore is not None and ignore in {0, *found}:
        raise BenchError(
            f"{path}: labels: {ignore} is {IGNORE!r} and a label too; nnU-Net ignores the highest"
        )
    found.pop(0, None)
    most = VOID if ignore is None else VOID - 1
    if not 1 <= len(found) <= most or len(set(found.values())) != len(found):
        raise BenchError(f"{path}: labels: 1 to {most} classes with different names are needed")
    return found, regions, ignore


def _regions(path: Path, labels: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return name -> values of nnU-Net's labels, ``{"whole": [1, 2], "core": 2}``, without background."""
    found = {}
    for name, stated in labels.items():
        values = stated if isinstance(stated, list) else [stated]
        if not values or not all(map(_is_value, values)) or (0 in map(int, values) and len(values) > 1):
            raise BenchError(
                f"{path}: labels: {shown(name)} needs values from 1 to {LARGEST}, got {shown(stated)}"
            )
        found[name] = tuple(sorted({*map(int, values)}))
    return {name: values for name, values in found.items() if values != (0,)}


def _is_value(value: Any) -> bool:
    text = str(value)  # its length first: Python converts no more than 4300 digits to an int
    return not isinstance(value, bool) and text.isdecimal() and len(text) <= 20 and int(text) <= LARGEST


def _lacks(found: Any) -> str:
    return "is missing" if found is None else f"holds {shown(found)}"


def _hint(unpack: str) -> str:
    return f"; {unpack}" if unpack else ""
