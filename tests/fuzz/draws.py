"""Damage as Hypothesis draws it: to bytes, fields of a layout, lines of text, plain values, JSON and YAML."""

import copy
import gzip
import io
import json
import re
import struct
import zlib
from functools import lru_cache

import nibabel as nib
import numpy as np
import yaml
from hypothesis import reject
from hypothesis import strategies as st

BORDERS = tuple(2**n - d for n in (7, 8, 15, 16, 31, 32, 63, 64) for d in (0, 1))
INTEGERS = (0, 1, -1, 2, 3, 4, 5, 7, 8, 348, 540, 10**30, *BORDERS)
FLOATS = (0.5, 1e-30, 1e30, 1e308, float("nan"), float("inf"), -float("inf"))
TEXTS = (
    "", " ", "0", "-1", "nan", "1e999", "None", "null", "true", "..", "../x", "/", "a/b", "\x00", "\ud800",
    "\u202e", "é" * 7, "😀", "%s", "{}", "{0}", "[]", "\n", "a\nb", "&a", "*a", "!!int", "x" * 300, "-" * 40,
    "1" * 20, "²", "\u0663", "default", "rule", "unet3d", "scratch", "CT", "paper", "9" * 5000, "x" * 70_000,
)  # fmt: skip
NAMES = TEXTS[:33]
ODD_JSON = (b"[" * 50, b"[" * 100_000, b"[" * 50 + b"]" * 50, b'{"a":' * 5000, b'{"a":' * 100_000)


def bomb(width, levels):
    """Return aliases of aliases: a kilobyte of YAML that stands for billions of values."""
    rows = (f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * width)}]" for n in range(1, levels))
    return f"{{x0: &x0 {{k: lol}}, {', '.join(rows)}}}"


YAML = (
    "!!python/object/apply:os.system [x]", "!!binary 'x'", "!!set {a, b}", "!!timestamp 2001-99-99", "~",
    "*a", "!!omap [a: 1]", "!!int x", "!!float x", "!!int ''", "!!null x", "!!bool maybe", "!x y",
    "!!str [a]", "=", "!!map a", "!!merge x", "2001-99-99", ".nan", "-.inf", "1e999", "0x10", "1_0", "0o7",
    "1:30", "{? [a]: b}", "!!seq {a: 1}", "!!pairs [a: 1, a: 2]", "&a [*a]", "&a {a: *a}", "&a x",
    "{<<: [1]}", "x\n<<: {a: 1}", "[", "[1, 2]", "{a: 1}", "x\n? [a, b]\n: 1", "x\n? \n: 1", "[" * 200,
    "{a: " * 3000, "[" * 9000, "? " * 400, "\n  " + "- " * 2000, "}", bomb(10, 9), bomb(3, 30), bomb(9, 4),
)  # fmt: skip
# of headers: NRRD's, MetaImage's
WORDS = """\
-5 -4 3|0 4 3|99999 99999 99999|2147483648 2147483648 2147483648|1e300 1 1|nan 1 1|LIST
(1,0,0) none (0,0,1)|(nan,0,0) (0,1,0) (0,0,1)|(0,0,0)|(1,0)|((1,0,0)|(1e300,0,0)|(,,)|raw
gzip|bzip2|hex|block|double|int64|big|LOCAL|True|x.raw|../x.raw|x%d.raw|scanner-xyz
domain domain domain|MET_DOUBLE|MET_LONG|1e200 0 0 0 1 0 0 0 1""".replace("\n", "|").split("|")
KEYS = """\
data file|byte skip|line skip|kinds|centers|min|spacings|space dimension|number|measurement frame
axis mins|ElementSize|HeaderSize|ElementNumberOfChannels|Orientation"""
FIELDS = KEYS.replace("\n", "|").split("|")
HEAD = re.compile(rb".*?(?:ElementDataFile[^\n]*\n|\n(?=\n))", re.DOTALL)  # of NRRD and MetaImage

integers = st.sampled_from(INTEGERS) | st.integers(-300, 3000)
numbers = integers | st.floats()
texts = st.sampled_from(TEXTS)
names = st.sampled_from(NAMES)
EDGES = (None, True, False, *INTEGERS, *TEXTS, *FLOATS)
scalars = st.sampled_from(EDGES) | st.floats()
NESTED = tuple(
    json.loads(a * n + "1" + z * n) for n in (3, 30, 300) for a, z in (("[", "]"), ('{"a":', "}"))
)
values = st.sampled_from(NESTED) | st.recursive(
    scalars,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(names, of, max_size=3),
    max_leaves=5,
)


def one(draw, options):
    """Return one of values of any size, drawn by its place."""
    return options[draw(st.integers(0, len(options) - 1))]


def _packed(draw, kind):
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(draw(st.floats())).astype(kind).tobytes()
    if kind.kind in "iu":
        order = "big" if kind.str[0] == ">" else "little"
        return (draw(integers) % 2 ** (8 * kind.itemsize)).to_bytes(kind.itemsize, order)
    return draw(st.binary(min_size=kind.itemsize, max_size=kind.itemsize))


KINDS = [np.dtype(order + kind) for order in "<>" for kind in ("i2", "i4", "i8", "f4", "f8")]


@st.composite
def damaged(draw, raw):
    """Draw bytes with one to four places flipped, set, cut, dropped, doubled, moved or filled."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(raw) - 1)))
        end = start + draw(st.sampled_from((1, 1, 2, 4, 8, 16, 64, 512)))
        here, kind = raw[start:end], draw(st.integers(0, 6))
        if kind == 0 and here:
            here = bytes([here[0] ^ (1 << draw(st.integers(0, 7)))]) + here[1:]
        elif kind == 1:
            here = _packed(draw, draw(st.sampled_from(KINDS)))
            end = start + len(here)
        elif kind == 2:
            here, end = b"", len(raw)
        elif kind == 3:
            here = b""
        elif kind == 4:
            here *= draw(st.sampled_from((2, 4, 20)))
        elif kind == 5:
            at = draw(st.integers(0, len(raw)))
            here = raw[at : at + len(here)]
        else:
            here = bytes([draw(st.sampled_from((0, 0xFF, 0x80)) | st.integers(0, 255))]) * len(here)
        raw = raw[:start] + here + raw[end:]
    return raw


@st.composite
def nifti(draw, raw):
    """Draw a single NIfTI file with one to three fields of its header set to edge values, or any damage."""
    how = draw(st.integers(0, 9))
    layout = nib.nifti1.header_dtype if b"n+1" in raw[:348] else nib.nifti2.header_dtype
    big = raw[0] == 0
    for _ in range(draw(st.integers(1, 3)) if how < 7 else 0):
        kind, at = layout.fields[draw(st.sampled_from(layout.names))][:2]
        base = kind.base.newbyteorder(">" if big else "<")
        at += base.itemsize * draw(st.integers(0, kind.itemsize // base.itemsize - 1))
        raw = raw[:at] + _packed(draw, base) + raw[at + base.itemsize :]
    return draw(damaged(raw)) if how > 4 else raw


@st.composite
def zipped(draw, raw):
    """Draw a gzip stream of a NIfTI file: whole, damaged, in members, followed by more, a bomb, or none."""
    raw = draw(nifti(raw))
    whole, kind = gzip.compress(raw, 1, mtime=0), draw(st.integers(0, 8))
    if kind < 3:
        return whole
    if kind == 3:
        at = draw(st.integers(0, len(raw)))
        return gzip.compress(raw[:at], 1, mtime=0) + gzip.compress(raw[at:], 1, mtime=0)
    if kind == 4:
        return whole + draw(st.sampled_from((b"\0" * 20, bytes(range(20)), whole)))
    if kind == 5:
        return gzip.compress(raw + bytes(1 << draw(st.sampled_from((10, 20, 24)))), 1, mtime=0)
    return draw(damaged(whole)) if kind < 8 else draw(st.sampled_from((raw, zlib.compress(raw))))


@st.composite
def lines(draw, text, joint, words, keys=("",)):
    """Draw text with one to four lines of ``key joint value`` lost, doubled, added, indented or changed."""
    made = text.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at, kind = draw(st.integers(0, max(0, len(made) - 1))), draw(st.integers(0, 8))
        old = "".join(made[at : at + 1])
        word = str(draw(words))
        if kind == 0:
            made[at : at + draw(st.integers(1, 3))] = []
        elif kind == 1:
            made.insert(draw(st.integers(0, len(made))), old)
        elif kind == 2:
            made.insert(
                at,
                " " * (len(old) - len(old.lstrip())) + draw(st.sampled_from(keys)) + joint + word,
            )
        elif kind in (3, 7, 8):
            parts = old.split(" ")
            parts[draw(st.integers(0, len(parts) - 1))] = word
            made[at : at + 1] = [" ".join(parts)]
        elif kind == 4:
            made[at : at + 1] = [" " * draw(st.integers(0, 6)) + old.lstrip()]
        else:
            made[at : at + 1] = [old.partition(joint)[0] + joint + word]
    return "\n".join(made) + "\n"


@st.composite
def headed(draw, raw):
    """Draw a volume that begins with lines of text: its header damaged, or what follows, or all of it."""
    how, head = draw(st.integers(0, 7)), HEAD.match(raw)[0]
    data = raw[len(head) :]
    if how < 6:
        joint, words = (
            ": " if head.startswith(b"NRRD") else " = ",
            st.sampled_from((*WORDS, *WORDS, *EDGES)),
        )
        head = draw(lines(head.decode(), joint, words, FIELDS)).encode("utf-8", "replace")
    if how == 5:
        head, data = head.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r\n", 1)
    return (
        draw(damaged(head + data))
        if how in (4, 6)
        else head + (draw(damaged(data)) if how == 7 else data)
    )


@st.composite
def trees(draw, plain):
    """Draw a copy with one to three nodes lost, replaced, doubled, renamed, swapped or wrapped."""
    made = {"": copy.deepcopy(plain)}
    for _ in range(draw(st.integers(1, 3))):
        spots = list(_spots(made))
        holder, key = one(draw, spots)
        old, kind = holder[key], draw(st.integers(0, 8))
        if kind == 0 and key != "":
            del holder[key]
        elif kind == 1:
            other, at = one(draw, spots)
            holder[key] = copy.deepcopy(other[at])
        elif kind == 2:
            holder[key] = one(draw, ([old], {"a": old}, str(old)))
        elif kind == 3 and isinstance(holder, dict) and key != "":
            holder[draw(names | st.sampled_from((key + "s", key.upper())))] = holder.pop(key)
        elif kind == 4 and isinstance(holder, list):
            holder += copy.deepcopy([old] * draw(st.sampled_from((1, 2, 50))))
        elif kind == 5 and isinstance(old, dict):
            old[draw(names)] = copy.deepcopy(draw(values))
        elif kind < 7 and isinstance(old, str):
            holder[key] = draw(texts | st.sampled_from((old + "x", old[:-1])))
        elif kind < 7 and isinstance(old, (int, float)):
            holder[key] = draw(numbers)
        else:
            holder[key] = copy.deepcopy(draw(values))
    return made.get("")


def _spots(holder):
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], (dict, list)):
            yield from _spots(holder[key])


@st.composite
def as_json(draw, plain):
    """Draw JSON of a damaged tree, or damaged JSON."""
    kind = draw(st.integers(0, 11))
    if kind < 9:
        raw = json.dumps(draw(trees(plain))).encode()
        return raw if kind < 8 else draw(damaged(raw))
    text = json.dumps(plain)
    return (
        draw(damaged(text.encode())) if kind < 11 else one(draw, (*ODD_JSON, text.encode("utf-16")))
    )


@st.composite
def tables(draw, raw):
    """Draw a Parquet file of columns that are not what they were, or damaged bytes."""
    import pandas as pd  # only the records' target needs it, and it is slow to import
    import pyarrow as pa

    if draw(st.integers(0, 2)) == 2:
        return draw(damaged(raw))
    buffer = io.BytesIO()
    try:
        table = pd.DataFrame(draw(trees(pd.read_parquet(io.BytesIO(raw)).to_dict("list"))))
        mixed = [c for c in table if table[c].map(type).nunique() > 1]
        table.astype(dict.fromkeys(mixed, str)).to_parquet(buffer, index=False)
    except (ValueError, TypeError, AttributeError, OverflowError, pa.ArrowException):
        reject()  # no table
    return buffer.getvalue()


@st.composite
def tensors(draw, raw):
    """Draw a safetensors file: its manifest damaged, its header, or any of it."""
    how, (size,) = draw(st.integers(0, 9)), struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + size])
    if how < 6:
        said = draw(as_json(json.loads(head["__metadata__"]["bench.manifest"])))
        head["__metadata__"]["bench.manifest"] = said.decode("utf-8", "replace")
    elif how > 7:
        return draw(damaged(raw))
    new = draw(as_json(head)) if how > 5 else json.dumps(head).encode()
    return (
        struct.pack("<Q", draw(st.sampled_from((len(new),) * 9 + (2**63, 0))))
        + new
        + raw[8 + size :]
    )


@st.composite
def as_yaml(draw, plain, text):
    """Draw at most 20 KB of YAML: of a damaged tree, or its text damaged by line or by byte."""
    kind = draw(st.integers(0, 11))
    if kind < 6:
        flow, tree = draw(st.sampled_from((None, False, True))), draw(trees(plain))
        try:
            text = yaml.safe_dump(
                tree, sort_keys=False, allow_unicode=True, default_flow_style=flow
            )
        except RecursionError:
            reject()
    elif kind < 11:
        text = draw(lines(text, ": ", st.sampled_from((*YAML, *YAML, *EDGES)), (*NAMES, "<<")))
    raw = text.encode("utf-8", "surrogatepass")
    raw = draw(damaged(raw)) if kind == 11 else raw
    return raw if len(raw) <= 20_000 else reject()


@lru_cache(maxsize=200)
def content(name, raw):
    """Return what draws damage to a file, by its name."""
    suffix = name.rpartition(".")[2]
    if raw and (suffix == "json" or name.startswith("claim")):  # a released claim is empty
        return as_json(json.loads(raw))
    if suffix == "yaml":
        return as_yaml(yaml.safe_load(raw), raw.decode())
    if suffix == "csv":
        changed = lines(raw.decode(), ",", scalars, ("1,2,3,4", "step,total", '"'))
        return changed.map(lambda text: text.encode("utf-8", "replace"))
    if suffix == "gz":
        return zipped(gzip.decompress(raw))
    known = {"nii": nifti, "nrrd": headed, "mhd": headed, "mha": headed, "parquet": tables}
    return {**known, "safetensors": tensors}.get(suffix, damaged)(raw)
