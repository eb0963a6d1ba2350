"""Bundles taken apart, and put together again with something changed."""

import hashlib
import io
import json
import zipfile


def members(file):
    with zipfile.ZipFile(file) as found:
        return {info.filename: found.read(info) for info in found.infolist()}


def changed(file, *, sealed=True, manifest=None, **parts):
    """Write a bundle anew: ``parts`` are functions of bytes by the end of a member's name (``__`` is a dot).

    ``sealed``: the manifest says what is in it now; ``manifest``: a function of what it says.
    """
    found = members(file)
    for end, change in parts.items():
        (name,) = [name for name in found if name.endswith(end.replace("__", "."))]
        found[name] = change(found[name])
    said = json.loads(found.pop("manifest.json"))
    if sealed:
        said["members"] = {
            n: {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
            for n, raw in found.items()
        }
    said = manifest(said) if manifest else said
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as again:
        for name, raw in {"manifest.json": json.dumps(said).encode(), **found}.items():
            again.writestr(name, raw)
    file.write_bytes(out.getvalue())
    return file
