"""Plugins from outside that tests write."""

from bench.extras.new import TEMPLATES


def written(folder, kind, name="", change=str):
    """Write a template under another name, changed; return its file."""
    text = (TEMPLATES / f"my_{kind}.py").read_text().replace(f"my_{kind}", name or f"my_{kind}")
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / f"{name or f'my_{kind}'}.py"
    file.write_text(change(text))
    return file
