"""Files whose names say the case and what of it they hold, wherever they lie."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from bench.dataset import Case, Dataset, natural
from bench.errors import BenchError
from bench.volumes.files import is_volume, stem, within

HELD_BACK = re.compile(r"(?<![a-z])(val|test)")  # in the names of folders without masks


def by_name(root: Path, pattern: re.Pattern[str], depth: int) -> dict[str, dict[str, Path]]:
    """Return case -> kind -> file, in natural order of the paths.

    A folder with a volume's name, as some unzippers make one around the file, counts as the file.

    Args:
        root: the data set's folder.
        pattern: with the groups ``case`` and ``kind``; must match a name without its suffix.
        depth: levels below ``root`` that are searched.

    Raises:
        BenchError: two files are the same kind of the same case.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in within(root, depth):
        match = pattern.fullmatch(stem(path)) if is_volume(path) and not is_volume(path.parent) else None
        if match is None:
            continue
        twin = found.setdefault(match["case"], {}).setdefault(match["kind"], path)
        if twin != path:
            raise BenchError(f"{path}: {twin} is the same file of case {match['case']}; keep one")
    return found


class ChannelFiles(Dataset):
    """Cases of one file per channel and a mask, all named ``<case>_<kind>`` beside each other.

    Cases in a folder named after validation or test hold no mask; any other case must have one.
    """

    pattern: ClassVar[re.Pattern[str]]  # as for :func:`by_name`
    kinds: ClassVar[tuple[str, ...]]  # of the channels' files, in the order of ``channels``
    mask: ClassVar[str] = "seg"

    def cases(self, root: Path) -> list[Case]:
        """Return every case; one that lacks a file is a case with a missing file."""
        root = Path(root)
        found = by_name(root, self.pattern, depth=5)
        if not found:
            raise BenchError(f"{root}: no files {self.pattern.pattern}.nii.gz; {self.unpack}")
        return [self._case(root, id, found[id]) for id in sorted(found, key=natural)]

    def about(self, folders: tuple[str, ...]) -> dict[str, str]:
        """Return a case's meta from the folders between the data set's and its files."""
        found = next((m[1] for f in folders if (m := HELD_BACK.search(f.lower()))), None)
        return {"part": {"val": "validation", "test": "testing", None: "training"}[found]}

    def _case(self, root: Path, id: str, files: dict[str, Path]) -> Case:
        kind, path = next(iter(files.items()))
        name = stem(path).removesuffix(kind)
        every = {k: files.get(k, path.with_name(f"{name}{k}.nii.gz")) for k in (*self.kinds, self.mask)}
        meta = self.about(path.parent.relative_to(root).parts)
        labelled = self.mask in files or meta["part"] == "training"
        images = tuple(every[k] for k in self.kinds)
        return Case(id, id, images, every[self.mask] if labelled else None, meta)
