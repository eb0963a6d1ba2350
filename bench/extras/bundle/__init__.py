"""``bench bundle``: one zip from which another machine draws every table again, without data or a GPU.

    manifest.json               what it is of, what made the numbers, SHA-256 and size of every member
    files/<name>/...            the protocol and the settings that it builds on, where they lie to each other
    records/<name>.parquet      the rows; ``.json`` what stands beside them; ``curves/`` learning curves
    splits/<data set>.<split>.json   the patients of every part, where they were known
    results/...                 the published numbers that stand beside ours
    reports/<name>/table.csv    the tables, as they are drawn from all of this; and table.md
    plugins/<kind>-<name>/...   source of plugins from outside, as text: no redraw runs it

Laid out in a folder it is an output folder. It holds rows and text alone, never an image; equal records make
equal bytes.
"""

from pathlib import Path


def is_bundle(path: Path) -> bool:
    """Tell by its name whether a path is that of a bundle."""
    return path.suffix == ".zip" and not path.is_dir()
