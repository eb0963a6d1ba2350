"""Ways to damage a file or a folder, copies of phantoms to damage, and what ``bench check`` reports of them."""

import gzip
import json
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from bench import registry
from bench.cli import main
from bench.volumes.header import KINDS

Change = Callable[[Path], object]  # of one file, or of a folder
NAN = float("nan")
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>log in</body></html>\n"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943\nsize 12345\n"
)


class Trees:
    """Phantoms, each made once, and copies of them that a test may damage."""

    def __init__(self, home: Path, cases: int = 4) -> None:
        self._home, self._cases = home, cases

    def sound(self, name: str) -> Path:
        """Return the folder of a data set's phantom, which nobody may change."""
        folder = self._home / name
        if not folder.exists():
            folder.mkdir()
            registry.load("dataset", name).phantom(folder, self._cases, 0)
        return folder

    def copy(self, name: str, data: Path) -> Path:
        """Return ``data/name``, a fresh copy of a data set's phantom; no link, as damage is done in place."""
        return Path(shutil.copytree(self.sound(name), data / name))


def on(file: str, *changes: Change) -> Change:
    """Return the damage of a folder that changes one file in it."""
    return lambda folder: both(*changes)(folder / file)


def both(*changes: Change) -> Change:
    return lambda path: [change(path) for change in changes]


def raw(change: Callable[[bytes], bytes]) -> Change:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def holding(content: bytes) -> Change:
    return lambda path: path.write_bytes(content)


def keep(n: int) -> Change:
    """Keep the first ``n`` bytes, or all but the last ``-n``."""
    return raw(lambda content: content[:n])


def add(more: bytes) -> Change:
    return raw(lambda content: content + more)


def flip(at: int) -> Change:
    """Change one bit of a byte, not of the last one."""
    return raw(lambda b: b[:at] + bytes([b[at] ^ 1]) + b[at + 1 :])


def text(old: str, new: str) -> Change:
    """Replace the first match of a pattern in a text, or in a header before its voxels."""

    def change(content: bytes) -> bytes:
        changed, n = re.subn(old.encode(), new.encode(), content, count=1, flags=re.MULTILINE)
        assert n, content[:400]
        return changed

    return raw(change)


def field(name: str, value: str | None) -> Change:
    """Set, or with None take out, a field of a MetaImage or an NRRD header."""
    return text(rf"^({name}(?: = |: )).*\n", "" if value is None else rf"\g<1>{value}\n")


def listing(**entries: object) -> Change:
    """Set entries of a JSON object."""
    return raw(lambda content: json.dumps({**json.loads(content), **entries}).encode())


half = raw(lambda content: content[: len(content) // 2])
gunzip = raw(gzip.decompress)
compressed = raw(gzip.compress)
# line ends of a text, or of a header before its voxels
windows = raw(
    lambda b: re.sub(rb"\A.*?(\n\n|\Z)", lambda m: m[0].replace(b"\n", b"\r\n"), b, flags=re.S)
)
marked = raw(lambda content: b"\xef\xbb\xbf" + content)
utf16 = raw(lambda content: content.decode().encode("utf-16"))


def _transfer(do: Callable[[Path, Path], object]) -> Callable[[str], Change]:
    """Return a maker of changes that take a file or a folder to a path from its own folder."""

    def to(name: str) -> Change:
        def change(path: Path) -> None:
            (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
            do(path, path.parent / name)

        return change

    return to


moved_to = _transfer(Path.rename)
copied = _transfer(lambda path, to: (shutil.copytree if path.is_dir() else shutil.copy)(path, to))


def linked(to: str) -> Change:
    """Put a symbolic link in the place of a file."""
    return both(lambda path: path.unlink(missing_ok=True), lambda path: path.symlink_to(to))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    """Put an empty folder in the place of a file."""
    path.unlink(missing_ok=True)
    path.mkdir()


def emptied(path: Path) -> None:
    for inside in path.iterdir():
        inside.unlink()


def unpacked(*names: str) -> Change:
    """Put a folder of a file's name around copies of it."""

    def change(path: Path) -> None:
        content = path.read_bytes()
        folder(path)
        for name in names:
            (path / name).write_bytes(content)

    return change


def patch(at: int, form: str, *values: object) -> Change:
    """Overwrite header fields of a NIfTI file, compressed."""

    def change(content: bytes) -> bytes:
        header = bytearray(gzip.decompress(content))
        struct.pack_into(f"<{form}", header, at, *values)
        return gzip.compress(bytes(header), 1)

    return raw(change)


def voxels(
    change: Callable[[np.ndarray], np.ndarray], dtype: Any = None, move: Any = (1, 1, 1)
) -> Change:
    """Store changed voxels of a NIfTI file, under an affine that is changed by a matrix or its diagonal."""

    def damage(path: Path) -> None:
        read: Any = nibabel.load(path)
        # a plain .nii is mapped, and about to be overwritten
        array = change(np.asarray(read.dataobj).copy())
        array = array.astype(dtype or array.dtype)
        step, matrix = np.eye(4), np.asarray(move)
        step[:3, :3] = np.diag(matrix) if matrix.ndim == 1 else matrix
        nibabel.save(nibabel.Nifti1Image(array, read.affine @ step, dtype=array.dtype), path)

    return damage


def put(value: float, dtype: Any = None) -> Change:
    """Set one voxel in the middle."""

    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(dtype or array.dtype)
        array[tuple(n // 2 for n in array.shape)] = value
        return array

    return voxels(change)


def swap(old: float, new: float) -> Change:
    return voxels(lambda array: np.where(array == old, new, array).astype(array.dtype))


def placed(move: Any) -> Change:
    return voxels(lambda array: array, move=move)


def redrawn(change: Callable[[Image.Image], Image.Image], form: str = "PNG") -> Change:
    """Draw a picture anew, under its old name whatever its form."""

    def damage(path: Path) -> None:
        with Image.open(path) as file:
            picture = change(file.copy())
        picture.save(path, format=form)

    return damage


def packed(path: Path) -> None:
    """Put a zip in the place of a folder, under its name and -1.zip."""
    with zipfile.ZipFile(path.with_name(f"{path.name}-1.zip"), "w") as file:
        for inside in sorted(p for p in path.rglob("*") if p.is_file()):
            file.write(inside, str(inside.relative_to(path)))
    shutil.rmtree(path)


def member(name: str, content: bytes | None = b"") -> Change:
    """Put a file into a zip, or with None take one out."""

    def damage(path: Path) -> None:
        with zipfile.ZipFile(path) as file:
            held = {**{info.filename: file.read(info) for info in file.infolist()}, name: content}
        with zipfile.ZipFile(path, "w") as file:
            for inside, bytes_of in held.items():
                if bytes_of is not None:
                    file.writestr(inside, bytes_of)

    return damage


# the flag of every member, in its own header and in the directory
encrypted = raw(lambda b: re.sub(b"(?s)(PK\3\4..|PK\1\2....).", lambda match: match[1] + b"\1", b))


def one_line(err: str, words: str) -> None:
    """Assert that a command was refused in one line that holds these words."""
    assert re.fullmatch(r"bench: .+\n", err), err
    assert words in err, err


def check(capsys: pytest.CaptureFixture[str], root: Path, *expected: str, of: str = "") -> None:
    """Assert that ``bench check`` reports exactly this of a tree: findings, or one line that refuses it.

    Each is ``kind: words``, of the file ``of``, or ``kind file: words`` of another one; ``./`` before a
    name is the folder of ``of``. The whole tree is refused where the kind is ``refused``.
    """
    code = main(["check", root.name, "--data", str(root.parent), "--workers", "1", "--json"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    findings, line = json.loads(shown.out) if shown.out else [], shown.err
    if expected and expected[0].startswith("refused: "):
        assert (code, findings) == (2, []), findings
        one_line(line, expected[0].removeprefix("refused: "))
        return
    wanted = []
    for text in expected:
        head, _, words = text.partition(": ")
        kind, _, file = head.partition(" ")
        wanted.append((kind, _named(file, of), words))
    near = [(f["kind"], f["file"].removeprefix(f"{root}/"), f["detail"]) for f in findings]
    assert code == (1 if wanted else 0), line
    assert sorted(n[:2] for n in near) == sorted(w[:2] for w in wanted), near
    for kind, file, words in wanted:
        assert any(n[:2] == (kind, file) and words in n[2] for n in near), (words, near)
    assert all(kind in KINDS and detail and "\n" not in detail for kind, _, detail in near)


def _named(file: str, of: str) -> str:
    return str(Path(of).parent / file) if file.startswith("./") else file or of
