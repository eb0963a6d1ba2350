"""Damage to bytes, texts and plain values: every choice comes from the ``random.Random`` given.

Bytes are damaged where they lie and by the fields of a layout; JSON as the tree that it is, or as text.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

INTEGERS = (
    0, 1, -1, 2, 3, 4, 5, 7, 8, 127, 128, 255, 256, 348, 540, 2**15 - 1, 2**15, -(2**15), 2**16 - 1,
    2**31 - 1,
    2**31, -(2**31), 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30,
)  # fmt: skip
FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-4, 5e-324, 1e-45, 1e-30, 1e30, 3.5e38, 1e308, 65536.0, math.nan, math.inf,
    -math.inf,
)  # fmt: skip
TEXTS = (
    "", " ", "0", "-1", "nan", "1e999", "None", "null", "true", "..", "../x", "/", "a/b", "\x00", "\ud800",
    "\u202e", "é" * 7, "😀", "%s%n", "{}", "{0}", "[]", "\n", "a\nb", "&a", "*a", "!!int", "x" * 300,
    "x" * 70_000, "9" * 5000, "-" * 40, "1" * 20, "²", "\u0663", "\u0662.\u0665",
)  # fmt: skip
STRUCTURE = '{}[]",:'


def integer(rng: random.Random) -> int:
    """Return an integer at the edge of some type."""
    return rng.choice(INTEGERS) if rng.random() < 0.8 else rng.randint(-300, 3000)


def damaged(rng: random.Random, raw: bytes, times: int | None = None) -> bytes:
    """Return bytes with one to four places flipped, set, cut, doubled, moved or filled."""
    for _ in range(times or rng.randint(1, 4)):
        raw = rng.choice(BYTES)(rng, raw) if raw else bytes(rng.randbytes(rng.randint(0, 8)))
    return raw


def _at(rng: random.Random, raw: bytes) -> tuple[int, int]:
    start = rng.randrange(len(raw))
    return start, min(len(raw), start + rng.choice((1, 1, 2, 4, 8, 16, 64, 512)))


def _flip(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :]


def _set(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    kind = rng.choice(["<b", "<h", "<i", "<q", "<f", "<d", ">h", ">i", ">q", ">f", ">d"])
    value = _packed(rng, kind)
    return raw[:at] + value + raw[at + len(value) :]


def _packed(rng: random.Random, kind: str) -> bytes:
    if kind[1] in "fd":
        with np.errstate(over="ignore"):
            return np.array(rng.choice(FLOATS)).astype(kind[0] + {"f": "f4", "d": "f8"}[kind[1]]).tobytes()
    size = struct.calcsize(kind)
    return (integer(rng) % 2 ** (8 * size)).to_bytes(size, "little" if kind[0] == "<" else "big")


def _cut(rng: random.Random, raw: bytes) -> bytes:
    return raw[: rng.randrange(len(raw))]


def _drop(rng: random.Random, raw: bytes) -> bytes:
    start, end = _at(rng, raw)
    return raw[:start] + raw[end:]


def _double(rng: random.Random, raw: bytes) -> bytes:
    start, end = _at(rng, raw)
    return raw[:end] + raw[start:end] * rng.choice((1, 1, 3, 20)) + raw[end:]


def _move(rng: random.Random, raw: bytes) -> bytes:
    (start, end), to = _at(rng, raw), rng.randrange(len(raw))
    return raw[:to] + raw[start:end] + raw[to + end - start :]


def _fill(rng: random.Random, raw: bytes) -> bytes:
    start, end = _at(rng, raw)
    return raw[:start] + bytes([rng.choice((0, 0xFF, 0x80, rng.randrange(256)))]) * (end - start) + raw[end:]


BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (_flip, _set, _cut, _drop, _double, _move, _fill)


def fields(rng: random.Random, raw: bytes, layout: np.dtype, names: Sequence[str] = ()) -> bytes:
    """Return bytes that begin with ``layout``, one to three of its fields set to edge values."""
    header = np.frombuffer(raw[: layout.itemsize], layout).copy()
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(names) or list(layout.names))
        part = header[name].reshape(-1)
        at = rng.randrange(part.size)
        if part.dtype.kind == "S":
            part[at] = rng.randbytes(part.dtype.itemsize)
        elif part.dtype.kind == "f":
            with np.errstate(over="ignore"):
                part[at] = np.array(rng.choice(FLOATS)).astype(part.dtype)
        else:
            bits = 8 * part.dtype.itemsize
            value = integer(rng) % 2**bits
            signed = part.dtype.kind == "i" and value >= 2 ** (bits - 1)
            part[at] = value - 2**bits if signed else value
        header[name] = part.reshape(header[name].shape)
    return header.tobytes() + raw[layout.itemsize :]


def zipped(rng: random.Random, raw: bytes) -> bytes:
    """Return a gzip stream of ``raw``: whole, damaged, in members, followed by more, or a bomb."""
    whole = gzip.compress(raw, 1, mtime=0)
    kind = rng.randrange(8)
    if kind < 3:
        return whole
    if kind == 3:
        at = rng.randrange(len(raw) + 1)
        return gzip.compress(raw[:at], 1, mtime=0) + gzip.compress(raw[at:], 1, mtime=0)
    if kind == 4:
        return whole + rng.choice((b"\0" * 20, rng.randbytes(20), whole))
    if kind == 5:
        return gzip.compress(raw + bytes(rng.choice((1 << 10, 1 << 20, 1 << 24))), 1, mtime=0)
    if kind == 6:
        return raw if rng.random() < 0.5 else zlib.compress(raw)
    return damaged(rng, whole)


def value(rng: random.Random, depth: int = 2) -> Any:
    """Return a plain value of any type, edge values more often."""
    kind = rng.randrange(9 if depth else 6)
    if kind == 0:
        return integer(rng)
    if kind == 1:
        return rng.choice(FLOATS)
    if kind in (2, 3):
        return rng.choice(TEXTS)
    if kind == 4:
        return rng.choice((None, True, False))
    if kind == 5:
        return rng.choice(("dice", "default", "rule", "unet3d", "scratch", "CT", "paper", "job", "1"))
    if kind == 6:
        return [value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    if kind == 7:
        return {str(value(rng, 0))[:40]: value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
    return deep(rng.choice((3, 30, 300)), rng.random() < 0.5)


def deep(levels: int, listed: bool) -> Any:
    """Return a value nested ``levels`` deep."""
    found: Any = 1
    for _ in range(levels):
        found = [found] if listed else {"a": found}
    return found


def tree(rng: random.Random, plain: Any) -> Any:
    """Return a copy with one to three nodes deleted, replaced, doubled, renamed, swapped or wrapped."""
    made = {"": copy.deepcopy(plain)}
    for _ in range(rng.randint(1, 3)):
        spots = list(_spots(made))
        holder, key = rng.choice(spots)
        _changed(rng, holder, key, [h[k] for h, k in spots])
    return made.get("")


def _spots(holder: Any) -> Any:
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], (dict, list)):
            yield from _spots(holder[key])


def _changed(rng: random.Random, holder: Any, key: Any, others: list[Any]) -> None:
    kind = rng.randrange(9)
    if kind == 0 and key != "":
        del holder[key]
    elif kind == 1:
        holder[key] = copy.deepcopy(rng.choice(others))
    elif kind == 2:
        holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
    elif kind == 3 and isinstance(holder, dict) and key != "":
        holder[str(rng.choice((*TEXTS[:30], key + "s", key.upper(), 1)))] = holder.pop(key)
    elif kind == 4 and isinstance(holder, list):
        holder += [copy.deepcopy(holder[key])] * rng.choice((1, 2, 50))
    elif kind == 5 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = integer(rng) if rng.random() < 0.6 else rng.choice(FLOATS)
    elif kind == 6 and isinstance(holder[key], str):
        holder[key] = rng.choice((rng.choice(TEXTS), holder[key] + "x", holder[key][:-1]))
    elif kind == 7 and isinstance(holder[key], dict):
        holder[key][rng.choice(TEXTS[:30])] = value(rng)
    else:
        holder[key] = value(rng)


def as_json(rng: random.Random, plain: Any) -> bytes:
    """Return JSON of a damaged tree, or damaged JSON."""
    if rng.random() < 0.75:
        raw = json.dumps(tree(rng, plain)).encode()
        return raw if rng.random() < 0.9 else damaged(rng, raw)
    text = json.dumps(plain)
    kind = rng.randrange(6)
    if kind == 0:
        return b"[" * rng.choice((50, 5000, 100_000)) + rng.choice((b"", b"]" * 50))
    if kind == 1:
        return b'{"a":' * rng.choice((50, 5000, 100_000))
    if kind == 2:
        return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")))
    if kind == 3:
        at = rng.randrange(len(text) + 1)
        return (
            text[:at] + rng.choice((*STRUCTURE, "NaN", "-Infinity", "1" * 5000, "\\ud800")) + text[at:]
        ).encode()
    return damaged(rng, text.encode())
