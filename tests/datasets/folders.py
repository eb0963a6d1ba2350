"""A data set by its name, folders of files to read it from, and the facts of its cases."""

import zipfile
from pathlib import Path

from bench import registry


def load(name):
    return registry.load("dataset", name)()


def laid(root, files):
    """Write files under a folder: empty ones by their names, or texts by name; ``a.zip/b`` into a zip."""
    for name, text in (files if isinstance(files, dict) else dict.fromkeys(files, "")).items():
        archive, packed, inside = name.partition(".zip/")
        path = root / (f"{archive}.zip" if packed else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if packed:
            with zipfile.ZipFile(path, "a") as file:
                file.writestr(inside, text)
        else:
            path.write_text(text, encoding="utf-8")
    return root


def case_facts(case, root):
    """Return all that a case says, by name; files as they are called below the data set's folder."""
    label = str(case.label.relative_to(root)) if isinstance(case.label, Path) else case.label
    images = [str(path.relative_to(root)) for path in case.images]
    return {**vars(case), "images": images, "label": label, **case.meta}
