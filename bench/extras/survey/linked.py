"""A folder in MSD layout that links to scans which lie in another one: ``bench init --image --label``."""

from __future__ import annotations

import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from bench.data.layout_msd import plain_name
from bench.errors import BenchError, first_of, printable
from bench.volumes.files import SUFFIXES, dicom_inside, is_volume

Key = tuple[str, ...]  # what the wildcards of a pattern stand for
WILD = re.compile(r"(\*\*/|\*|\?+|\[[^\]]+\])")
OF_LABELS = re.compile(r"mask|seg|label|gt|roi|annot|truth", re.IGNORECASE)
SHOWN = 3  # files that a message names
LISTED = 5  # image files that are named where a pattern matches none
LOOKED_AT = 2000  # files for a suggestion


@contextmanager
def linked(
    folder: Path, images: Sequence[str], label: str, to: Path | None
) -> Iterator[tuple[Path, str]]:
    """Make the folder, and take it away again where what follows fails.

    Args:
        folder: holds the scans.
        images: a pattern for each channel, below ``folder``: ``*/T1.nii.gz``.
        label: of the label maps, with as many wildcards; what these stand for pairs the files.
        to: the new folder; by default ``folder``'s name with ``_msd``, beside it.

    Yields:
        The new folder, and what it links to in words.

    Raises:
        BenchError: nothing matches, files that do not pair, or the folder is there already.
    """
    matched = [_matches(folder, pattern, "--image") for pattern in images]
    if not label:
        raise BenchError(
            "--image: needs --label, the pattern of the label maps: --label '*/mask.nii.gz'"
        )
    labels = _matches(folder, label, "--label")
    maps = {*labels.values()}  # no scans, although '*.nii.gz' matches them too
    channels = [{k: path for k, path in files.items() if path not in maps} for files in matched]
    for pattern, other in zip(images[1:], channels[1:], strict=True):
        _refuse_apart(folder, channels[0], other, f"--image {images[0]}", f"--image {pattern}")
        _refuse_apart(folder, other, channels[0], f"--image {pattern}", f"--image {images[0]}")
    _refuse_apart(folder, labels, channels[0], f"--label {label}", f"--image {images[0]}")
    names = _names(channels[0])
    root = to or folder.with_name(f"{folder.resolve().name}_msd")
    if root.exists():
        raise BenchError(
            f"{root}: exists already, and nothing is overwritten; 'bench init {root}' uses it as it is, "
            "--links DIR writes to another folder"
        )
    targets = _targets(root, names, channels, labels)
    try:
        for room in ("imagesTr", "labelsTr", *(["imagesTs"] if len(labels) < len(names) else [])):
            (root / room).mkdir(parents=True)
        for link, path in targets.items():
            link.symlink_to(path.resolve())
        without = len(names) - len(labels)
        more = f", {without} without a label" if without else ""
        example = next(iter(names))
        first = channels[0][example].relative_to(folder)
        yield (
            root,
            printable(f"{root}: links to {len(names)} scans{more}; {first} is {names[example]}"),
        )
    except OSError as error:
        shutil.rmtree(root, ignore_errors=True)
        raise BenchError(
            f"{error.filename or root}: cannot be linked ({error.strerror}); name another folder with --links"
        ) from None
    except BenchError as error:  # the links are gone when it is read
        shutil.rmtree(root, ignore_errors=True)
        raise BenchError(_of_own_files(str(error), targets)) from None
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _targets(
    root: Path,
    names: Mapping[Key, str],
    channels: Sequence[Mapping[Key, Path]],
    labels: Mapping[Key, Path],
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
    alone = [path for key, path in files.items() if key not in others]
    if alone:
        listed = ", ".join(str(path.relative_to(folder)) for path in alone[:SHOWN])
        raise BenchError(
            f"{here}: {len(alone)} of {len(files)} files match no file of {there} (the text at each wildcard "
            f"must be the same), first {listed}; correct a pattern, or move these files away"
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
    return next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
