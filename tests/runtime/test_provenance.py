"""A manifest says from which commit a job ran, and whether the tree was another than that."""

import shutil
import subprocess

import pytest

from bench.runtime.provenance import Tree, tree

look = tree.__wrapped__  # a process looks once


@pytest.fixture
def clone(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):  # a hook's
        monkeypatch.delenv(name, raising=False)
    for name in ("bench/a.py", "methods/m.py", "datasets/d.py", "docs/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return tmp_path


def test_a_clean_tree_is_its_commit(clone):
    found = look(clone)
    assert len(found.commit) == 12 and found == Tree(found.commit)
    (clone / "docs" / "x.md").write_text("two\n")
    (clone / "bench" / "notes.txt").write_text("no code\n")
    assert look(clone) == found


EDITS = {
    "edited": lambda root: (root / "methods" / "m.py").write_text("two\n"),
    "never committed": lambda root: (root / "methods" / "mine.py").write_text("two\n"),
    "deleted": lambda root: (root / "bench" / "a.py").unlink(),
    "moved": lambda root: (root / "datasets" / "d.py").rename(root / "datasets" / "e.py"),
}


def test_what_makes_numbers_and_was_not_committed_is_told_apart(clone):
    seen = set()
    for edit in EDITS.values():
        edit(clone)
        found = look(clone)
        assert found.modified and found.commit == look(clone).commit
        assert found == look(clone)
        seen.add(found.changed)
    assert len(seen) == len(EDITS) and "" not in seen
    (clone / "methods" / "mine.py").write_text("three\n")
    assert look(clone).changed not in seen


def test_outside_a_clone_of_its_own_there_is_no_commit(clone, tmp_path_factory):
    inside = clone / "site-packages"
    shutil.copytree(clone / "bench", inside / "bench")
    assert look(inside) == Tree()
    assert look(tmp_path_factory.mktemp("bare")) == Tree()
