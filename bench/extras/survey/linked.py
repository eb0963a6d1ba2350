"""A folder in MSD layout that links to scans which lie in another one: ``bench init --image --label``."""

from __future__ import annotations

import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from bench.data.layout_msd import plain_name
from bench.errors import BenchError, first_of, printable
from bench.jobs.submission import nifti_like
from bench.volumes.files import SUFFIXES, dicom_inside, is_volume
from bench.volumes.header import VolumeError
from bench.volumes.reading import lay, misplaced, read_label

Key = tuple[str, ...]  # what the wildcards of a pattern stand for
Files = Mapping[Key, Path]
WILD = re.compile(r"(\*\*/|\*|\?+|\[[^\]]+\])")
OF_LABELS = re.compile(r"mask|seg|label|gt|roi|annot|truth", re.IGNORECASE)
SHOWN = 3  # files that a message names
LISTED = 5  # image files that are named where a pattern matches none
LOOKED_AT = 2000  # files for a suggestion


@contextmanager
def linked(
    folder: Path, images: Sequence[str], masks: Sequence[str], to: Path | None, workers: int
) -> Iterator[tuple[Path, str]]:
    """Make the folder, and take it away again where what follows fails.

    Args:
        folder: holds the scans.
        images: a pattern for each channel, below ``folder``: ``*/T1.nii.gz``.
        masks: of the label maps, with as many wildcards; what these stand for pairs the files. Of several
            patterns each is of one label's binary masks: 1, 2, ... in their order.
        to: the new folder; by default ``folder``'s name with ``_msd``, beside it.
        workers: cases whose masks are read at once.

    Yields:
        The new folder, and what it links to in words.

    Raises:
        BenchError: nothing matches, files that do not pair, masks that make no label map, or the folder is
            there already.
    """
    matched = [_matches(folder, pattern, "--image") for pattern in images]
    if not masks:
        raise BenchError(
            "--image: needs --label, the pattern of the label maps: --label '*/mask.nii.gz'"
        )
    organs = [_matches(folder, pattern, "--label") for pattern in masks]
    labels = organs[0]
    maps = {path for files in organs for path in files.values()}  # '*.nii.gz' matches them too
    channels = [{k: path for k, path in files.items() if path not in maps} for files in matched]
    for flag, patterns, each in (("--image", images, channels), ("--label", masks, organs)):
        for pattern, other in zip(patterns[1:], each[1:], strict=True):
            here, there = f"{flag} {patterns[0]}", f"{flag} {pattern}"
            _refuse_apart(folder, each[0], other, here, there)
            _refuse_apart(folder, other, each[0], there, here)
    _refuse_apart(folder, labels, channels[0], f"--label {masks[0]}", f"--image {images[0]}")
    names = _names(channels[0])
    root = to or folder.with_name(f"{folder.resolve().name}_msd")
    if root.exists():
        raise BenchError(
            f"{root}: exists already, and nothing is overwritten; 'bench init {root}' uses it as it is, "
            "--links DIR writes to another folder"
        )
    targets = _targets(root, names, channels, labels)
    merged = "" if len(organs) == 1 else f", and holds label maps of {len(organs)} masks each"
    try:
        for room in ("imagesTr", "labelsTr", *(["imagesTs"] if len(labels) < len(names) else [])):
            (root / room).mkdir(parents=True)
        for link, path in targets.items():
            if not merged or link.parent.name != "labelsTr":
                link.symlink_to(path.resolve())
        if merged:
            _write_maps(
                {root / "labelsTr" / names[k]: [o[k] for o in organs] for k in labels},
                masks,
                workers,
            )
        without = len(names) - len(labels)
        more = f", {without} without a label" if without else ""
        example = next(iter(names))
        first = channels[0][example].relative_to(folder)
        yield (
            root,
            printable(
                f"{root}: links to {len(names)} scans{more}{merged}; {first} is {names[example]}"
            ),
        )
    except OSError as error:
        shutil.rmtree(root, ignore_errors=True)
        raise BenchError(
            f"{error.filename or root}: cannot be made ({error.strerror}); name another folder with --links"
        ) from None
    except BenchError as error:  # the links are gone when it is read
        shutil.rmtree(root, ignore_errors=True)
        raise BenchError(_of_own_files(str(error), targets)) from None
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _targets(
    root: Path, names: Mapping[Key, str], channels: Sequence[Files], labels: Files
) -> dict[Path, Path]:
    """Return the file that each link of the new folder leads to, by the link."""
    targets = dict[Path, Path]()
    for key, name in names.items():
        room = "imagesTr" if key in labels else "imagesTs"
        for number, files in enumerate(channels):
            targets[root / room / f"{name}_{number:04d}{_suffix(files[key])}"] = files[key]
        if key in labels:
            targets[root / "labelsTr" / f"{name}{_suffix(labels[key])}"] = labels[key]
    return targets


def organ_names(patterns: Sequence[str]) -> dict[int, str]:
    """Return a name by label, of what one pattern alone has: ``liver`` of ``*/liver.nii.gz``."""
    paths = [Path(pattern.removesuffix(_suffix(Path(pattern)))) for pattern in patterns]
    shared = set.intersection(*({*path.parts} for path in paths))
    own = (WILD.sub("", "_".join(p for p in path.parts if p not in shared)) for path in paths)
    return {n: name.strip("_-. ") or f"label_{n}" for n, name in enumerate(own, 1)}


def _write_maps(
    masks_by_map: Mapping[Path, Sequence[Path]], patterns: Sequence[str], workers: int
) -> None:
    """Write label maps, each of the masks of one case.

    Raises:
        BenchError: masks that overlap, are not binary or lie on other grids, or a label that no case has.
    """
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        merged = [*pool.map(lambda item: _write_map(*item), masks_by_map.items())]
    overlaps = [overlap for _, overlap in merged if overlap]
    if overlaps:
        raise BenchError(
            f"{overlaps[0]}; {len(overlaps)} of {len(merged)} cases have such voxels, and a voxel has one label: "
            "correct the masks, or leave one --label out"
        )
    labels = {label for found, _ in merged for label in found}
    for label, pattern in enumerate(patterns, 1):
        if label not in labels:
            raise BenchError(
                f"--label {pattern}: all {len(merged)} masks are empty; correct them, or leave this --label out"
            )


def _write_map(stem: Path, masks: Sequence[Path]) -> tuple[set[int], str]:
    """Write the label map of a case; return its labels, and how two masks overlap, in words."""
    first, labels, overlap = read_label(masks[0]), set[int](), ""
    merged = np.zeros(first.array.shape, np.min_scalar_type(len(masks)))
    for label, path in enumerate(masks, 1):
        mask = read_label(path)
        inside = lay(mask, first).array
        if off := misplaced(mask, first):
            detail = (
                f"lies up to {off:.4g} voxels from {masks[0]}; the masks of a case need one grid"
            )
            raise VolumeError(path, "affine", detail)
        values = inside[inside != 0]
        if values.size and (values.min() < 0 or values.min() != values.max()):
            raise BenchError(
                f"{path}: holds values from {values.min()} to {values.max()}, and of several --label each is of "
                "binary masks; a label map of several organs needs --label once"
            )
        before = merged[inside != 0]
        if other := int(before.max(initial=0)):
            n = int(np.count_nonzero(before == other))
            overlap = overlap or f"{masks[other - 1]} and {path}: overlap in {n} voxels"
        merged[inside != 0] = label
        labels |= {label} if values.size else set()
    stem.with_name(f"{stem.name}.nii.gz").write_bytes(nifti_like(merged, masks[0]))
    return labels, overlap


def _of_own_files(text: str, targets: Mapping[Path, Path]) -> str:
    """Return a text with the person's own files in the place of the links to them."""
    for link, path in targets.items():
        text = text.replace(str(link), str(path))
    return text


def suggestion(folder: Path) -> str:
    """Return in words how the scans of a folder may be named; nothing where they follow no pattern."""
    paths = (p.relative_to(folder) for p in folder.rglob("*") if is_volume(p))
    counts = Counter(
        Path(*("*" for _ in path.parts[:-1]), path.name).as_posix()
        for path in islice(paths, LOOKED_AT)
        if len(path.parts) > 1
    )
    if not counts:
        return _flat(folder)
    repeated = [pattern for pattern, n in counts.most_common() if n > 1]
    labels = [pattern for pattern in repeated if OF_LABELS.search(Path(pattern).name)]
    images = [pattern for pattern in repeated if pattern not in labels]
    if not images or not labels:
        return ""
    return _example(folder, images[0], labels[0])


def _flat(folder: Path) -> str:
    """Return the like for scans and label maps in one folder, whose names differ in what label maps add."""
    names = [p.name for p in islice(folder.iterdir(), LOOKED_AT) if is_volume(p)]
    stems = {name.removesuffix(_suffix(Path(name))): _suffix(Path(name)) for name in names}
    added = Counter(
        (label.removeprefix(stem), stems[label], stems[stem])
        for label in stems
        if OF_LABELS.search(label)
        for stem in (label[:n] for n in range(1, len(label)))
        if stem in stems
    )
    if not added:
        return ""
    (more, of_label, of_image), _ = added.most_common(1)[0]
    return _example(folder, f"*{of_image}", f"*{more}{of_label}")


def _example(folder: Path, image: str, label: str) -> str:
    return f"e.g. bench init {shlex.quote(str(folder))} --image '{image}' --label '{label}'"


def _matches(folder: Path, pattern: str, flag: str) -> dict[Key, Path]:
    """Return the volumes of a pattern by what its wildcards stand for."""
    pattern = Path(pattern).as_posix()  # without './', as paths below a folder are
    if Path(pattern).is_absolute() or not WILD.search(pattern):
        raise BenchError(
            f"{flag} {pattern}: must be a pattern relative to {folder}, with '*' where cases differ: '*/T1.nii.gz'"
        )
    spelled = "".join(
        f"({_wildcard(part)})" if WILD.fullmatch(part) else re.escape(part)
        for part in WILD.split(pattern)
    )
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not files:
        hint = suggestion(folder)
        raise BenchError(
            f"{flag} {pattern}: no file below {folder}{dicom_inside(folder)}"
            + _volumes_listed(folder, flag)
            + (f"; {hint}" if hint else "; correct the pattern")
        )
    if (other := next((path for path in files if not is_volume(path)), None)) is not None:
        raise BenchError(
            f"{flag} {pattern}: {other} is no volume ({', '.join(SUFFIXES)}){dicom_inside(folder)}; narrow "
            "the pattern"
        )
    keyed = dict[Key, Path]()
    for path in files:
        match = re.fullmatch(spelled, path.relative_to(folder).as_posix())
        keyed[match.groups() if match else (path.name,)] = path
    return keyed


def _volumes_listed(folder: Path, flag: str) -> str:
    """Return the first volumes of a folder in words; for ``--image`` no label maps."""
    volumes = sorted(
        p.relative_to(folder) for p in islice(folder.rglob("*"), LOOKED_AT) if is_volume(p)
    )
    images = [path for path in volumes if not OF_LABELS.search(path.name)]
    files = images if images and flag == "--image" else volumes
    return f"; there are {first_of(files, LISTED)}" if files else ""


def _wildcard(part: str) -> str:
    """Return the regular expression of a wildcard; of "[...]" it is the same."""
    return {"*": "[^/]*", "**/": "(?:.*/)?", "?": "[^/]" * len(part), "[": part}[
        part if part[0] == "*" else part[0]
    ]


def _refuse_apart(
    folder: Path, files: Mapping[Key, Path], others: Mapping[Key, Path], here: str, there: str
) -> None:
    alone = {key: path for key, path in files.items() if key not in others}
    if alone:
        listed = ", ".join(str(path.relative_to(folder)) for path in [*alone.values()][:SHOWN])
        way = "correct a pattern, or move these files away"
        if here.startswith("--label") and len(next(iter(alone))) > max(map(len, others), default=0):
            way = "give one --label for each organ, and no wildcard for the organ's name"
        elif here.startswith("--label") and there.startswith("--label"):
            way += "; a case without the organ needs an empty mask"
        raise BenchError(
            f"{here}: {len(alone)} of {len(files)} files match no file of {there} (the text at each wildcard "
            f"must be the same), first {listed}; {way}"
        )


def _names(files: Mapping[Key, Path]) -> dict[Key, str]:
    """Return a case's name by what the wildcards stand for."""
    names = {key: plain_name("_".join(filter(None, key))) or "case" for key in files}
    twice = [name for name, n in Counter(names.values()).items() if n > 1]
    if twice:
        both = [str(files[key]) for key, name in names.items() if name == twice[0]]
        raise BenchError(
            f"{both[0]} and {both[1]} would both be called {twice[0]!r}; rename one of them"
        )
    return names


def _suffix(path: Path) -> str:
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
