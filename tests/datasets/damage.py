"""Ways to damage a file or a tree, and what ``bench check`` then says of it."""

import gzip
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from bench import registry
from bench.cli import main
from bench.data.stored import KINDS

Change = Callable[[Path], object]  # of one file, or of the data set's folder
NAN = float("nan")
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>log in</body></html>\n"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


class Trees:
    """Phantoms, each made once, and copies of them that a test may damage."""

    def __init__(self, home: Path, cases: int = 4) -> None:
        self._home, self._cases = home, cases

    def copy(self, name: str, data: Path) -> Path:
        """Return ``data/name``, a fresh copy of a data set's phantom."""
        sound = self._home / name
        if not sound.exists():
            sound.mkdir()
            registry.load("dataset", name).phantom(sound, self._cases, 0)
        return Path(shutil.copytree(sound, data / name))


def on(file: str, *changes: Change) -> Change:
    """Return the damage of a tree that changes one of its files."""

    def damage(root: Path) -> None:
        for change in changes:
            change(root / file)

    return damage


def both(*damages: Change) -> Change:
    def damage(root: Path) -> None:
        for one in damages:
            one(root)

    return damage


# --- bytes -------------------------------------------------------------------------------------


def holding(content: bytes) -> Change:
    return lambda path: path.write_bytes(content)


def keep(n: int) -> Change:
    """Keep the first ``n`` bytes, or all but the last ``-n``."""
    return lambda path: path.write_bytes(path.read_bytes()[:n])


def half(path: Path) -> None:
    keep(path.stat().st_size // 2)(path)


def add(content: bytes) -> Change:
    return lambda path: path.write_bytes(path.read_bytes() + content)


def flip(at: int) -> Change:
    """Change one bit of the byte at a place."""

    def change(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[at] ^= 1
        path.write_bytes(raw)

    return change


def patch(at: int, form: str, *values: object) -> Change:
    """Overwrite header fields of a NIfTI file, compressed or not."""

    def change(path: Path) -> None:
        packed = path.read_bytes()[:2] == b"\x1f\x8b"
        raw = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
        struct.pack_into(f"<{form}", raw, at, *values)
        path.write_bytes(gzip.compress(bytes(raw), 1) if packed else bytes(raw))

    return change


def text(old: str, new: str) -> Change:
    """Replace in a text, or in a header before its voxels."""

    def change(path: Path) -> None:
        raw = path.read_bytes()
        assert old.encode() in raw, raw[:400]
        path.write_bytes(raw.replace(old.encode(), new.encode(), 1))

    return change


def field(name: str, value: str | None) -> Change:
    """Set, or with None take out, a field of a MetaImage or an NRRD header."""

    def change(path: Path) -> None:
        raw = path.read_bytes()
        found = re.search(rf"(?m)^{name}( = |: )(.*)\n".encode(), raw)
        assert found, raw[:400]
        line = b"" if value is None else name.encode() + found[1] + value.encode() + b"\n"
        path.write_bytes(raw[: found.start()] + line + raw[found.end() :])

    return change


def listing(**entries: object) -> Change:
    """Set entries of a JSON object; None takes one out."""

    def change(path: Path) -> None:
        read = {**json.loads(path.read_text()), **entries}
        path.write_text(json.dumps({k: v for k, v in read.items() if v is not None}))

    return change


# --- files -------------------------------------------------------------------------------------


def renamed(name: str) -> Change:
    return lambda path: path.rename(path.with_name(name))


def moved(to: str) -> Change:
    """Move a file to a path from its own folder."""

    def change(path: Path) -> None:
        target = path.parent / to
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)

    return change


def copied(to: str) -> Change:
    """Copy a file or a folder to a path from its own folder."""

    def change(path: Path) -> None:
        target = path.parent / to
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)

    return change


def linked(to: str) -> Change:
    """Put a symbolic link in the place of a file."""

    def change(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return change


def folder(path: Path) -> None:
    """Put an empty folder in the place of a file."""
    path.unlink(missing_ok=True)
    path.mkdir()


def unpacked(*names: str) -> Change:
    """Put a folder of a file's name around copies of it."""

    def change(path: Path) -> None:
        content = path.read_bytes()
        folder(path)
        for name in names:
            (path / name).write_bytes(content)

    return change


# --- voxels ------------------------------------------------------------------------------------


def voxels(change: Callable[[np.ndarray], np.ndarray], dtype: Any = None) -> Change:
    """Store changed voxels of a NIfTI file under its own affine."""

    def damage(path: Path) -> None:
        read: Any = nibabel.load(path)
        array = change(np.asarray(read.dataobj).copy())
        nibabel.save(nibabel.Nifti1Image(array if dtype is None else array.astype(dtype), read.affine), path)

    return damage


def put(value: float, dtype: Any = None) -> Change:
    """Set one voxel in the middle."""

    def change(array: np.ndarray) -> np.ndarray:
        array = array if dtype is None else array.astype(dtype)
        array[tuple(n // 2 for n in array.shape)] = value
        return array

    return voxels(change)


def placed(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Store the voxels of a NIfTI file under a changed affine."""

    def damage(path: Path) -> None:
        read: Any = nibabel.load(path)
        array = np.asarray(read.dataobj).copy()  # a plain .nii is mapped, and about to be overwritten
        nibabel.save(nibabel.Nifti1Image(array, change(read.affine.copy())), path)

    return damage


# --- what is said ------------------------------------------------------------------------------

Expected = list[tuple[str, str, str]] | str  # (kind, file, words of the detail), or words of a refusal


def told(capsys: pytest.CaptureFixture[str], root: Path) -> tuple[int, list[dict], str]:
    """Run ``bench check`` on a tree; return the exit code, the findings and what went to stderr."""
    code = main(["check", root.name, "--data", str(root.parent), "--workers", "1", "--json"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    return code, json.loads(shown.out) if shown.out else [], shown.err


class Listing(str):
    """What the one finding says of a list that is damaged; the images are judged all the same."""

    kind = "unreadable"


class Gone(Listing):
    kind = "missing"


def check(capsys: pytest.CaptureFixture[str], root: Path, expected: Expected) -> None:
    """Assert that exactly these findings are made, or that one line refuses the whole tree."""
    code, found, line = told(capsys, root)
    if isinstance(expected, Listing):
        assert code == 1 and len(found) == 1, (found, line)
        assert found[0]["kind"] == expected.kind and found[0]["case"] == ""
        assert expected in f"{found[0]['file']}: {found[0]['detail']}", found
        return
    if isinstance(expected, str):
        assert (code, found) == (2, []), found
        assert re.fullmatch(r"bench: .+\n", line), line
        assert expected in line, line
        return
    near = [(f["kind"], f["file"].removeprefix(f"{root}/"), f["detail"]) for f in found]
    assert code == (1 if expected else 0), line
    assert sorted(n[:2] for n in near) == sorted(e[:2] for e in expected), near
    for kind, file, words in expected:
        assert any(n[:2] == (kind, file) and words in n[2] for n in near), (words, near)
    assert {f["kind"] for f in found} <= {*KINDS}
    assert all(f["detail"] and "\n" not in f["detail"] for f in found)
