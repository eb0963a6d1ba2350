"""Files whose names say the case and what of it they hold, wherever they lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from bench.dataset import Case, Dataset, Recipe, natural
from bench.errors import BenchError
from bench.volumes.files import is_volume, stem, within

# of a pair
PARTNER = {"img": "label", "label": "img", "imagesTr": "labelsTr", "labelsTr": "imagesTr"}
BORDER = 0.06  # of white; what is darker all along an edge is no retina
GREY = (0.0, 255.0)  # values of a picture's files
HELD_BACK = re.compile(r"(?<![a-z])(val|test)")  # in the names of folders without masks


def by_name(
    root: Path,
    pattern: re.Pattern[str],
    depth: int,
    readable: Callable[[Path], bool] = is_volume,
    case: Callable[[re.Match[str], Path], str | None] = lambda match, _: match["case"],
) -> dict[str, dict[str, Path]]:
    """Return case -> kind -> file, in natural order of the cases.

    A folder with a volume's name, as some unzippers make one around the file, counts as the file.

    Args:
        root: the data set's folder.
        pattern: must match a name without its suffix; its group ``kind``, if any, is the kind.
        depth: levels below ``root`` that are searched.
        readable: is a file of this name one of the data set's format?
        case: from match and path to the case, None for a file of none; the group ``case`` by default.

    Raises:
        BenchError: two files are the same kind of the same case.
    """
    cases: dict[str, dict[str, Path]] = {}
    for path in within(root, depth):
        match = (
            pattern.fullmatch(stem(path)) if readable(path) and not is_volume(path.parent) else None
        )
        id = None if match is None else case(match, path)
        if match is None or id is None:
            continue
        twin = cases.setdefault(id, {}).setdefault(match.groupdict().get("kind", ""), path)
        if twin != path:
            raise BenchError(
                f"{path}: {twin} is the same image or label map of case {id}; keep one of the two"
            )
    return {id: cases[id] for id in sorted(cases, key=natural)}


def expected(files: Mapping[str, Path], names: Mapping[str, str]) -> tuple[Path, Path]:
    """Return a case's image and mask; one that is not there is named where it should lie.

    Args:
        files: what there is of the case by kind, as ``by_name`` has it; not empty.
        names: the kind of the image and of the mask, each with its name without suffix.
    """
    file = next(iter(files.values()))
    folder = file.parent.with_name(PARTNER.get(file.parent.name, file.parent.name))
    image, mask = (
        files.get(kind, folder / file.name.replace(stem(file), name))
        for kind, name in names.items()
    )
    return image, mask


class ChannelFiles(Dataset):
    """Cases of one file per channel and a mask, all named ``<case>_<kind>`` beside each other.

    Cases in a folder named after validation or test hold no mask; any other case must have one.
    """

    pattern: ClassVar[re.Pattern[str]]  # as for :func:`by_name`
    kinds: ClassVar[tuple[str, ...]]  # of the channels' files, in the order of ``channels``
    mask: ClassVar[str] = "seg"

    def cases(self, root: Path) -> list[Case]:
        """Return every case; one that lacks a file is a case with a missing file."""
        cases = by_name(root, self.pattern, depth=5)
        if not cases:
            raise BenchError(f"{root}: no files {self.pattern.pattern}.nii.gz; {self.unpack}")
        return [self._case(root, id, files) for id, files in cases.items()]

    def about(self, folders: tuple[str, ...]) -> dict[str, str]:
        """Return a case's meta from the folders between the data set's and its files."""
        part = next((m[1] for f in folders if (m := HELD_BACK.search(f.lower()))), None)
        return {"part": {"val": "validation", "test": "testing", None: "training"}[part]}

    def _case(self, root: Path, id: str, files: dict[str, Path]) -> Case:
        kind, path = next(iter(files.items()))
        name = stem(path).removesuffix(kind)
        every = {
            k: files.get(k, path.with_name(f"{name}{k}.nii.gz")) for k in (*self.kinds, self.mask)
        }
        meta = self.about(path.parent.relative_to(root).parts)
        labelled = self.mask in files or meta["part"] == "training"
        images = tuple(every[k] for k in self.kinds)
        return Case(id, id, images, every[self.mask] if labelled else None, meta)


class Photographs(Dataset):
    """Photographs of the back of the eye in RGB, one a case."""

    redistribution = False
    modality = "fundus"
    flat = True
    channels = ("red", "green", "blue")
    recipes = {  # noqa: RUF012
        # ours: as "taleb" without the black border, whose width depends on the camera
        "default": Recipe(smooth=True, resize=(224, 224, 0), window=GREY, foreground=BORDER),
        # Taleb 2020's code reads pictures that are resized to 224 x 224 before; dividing by 255 and
        # keeping no aspect ratio are assumed
        "taleb": Recipe(smooth=True, resize=(224, 224, 0), window=GREY),
        "coarse": Recipe(
            smooth=True, resize=(96, 96, 0), window=GREY, foreground=BORDER
        ),  # ours: a pilot
    }
