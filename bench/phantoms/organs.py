"""Synthetic patients: organs that keep their places in a body, all else differing by patient.

A patient is a pure function of (seed, index). The atlas is fixed: it depends on the number of
labels and the field of view, never on the seed. A patient changes the body's place in the grid,
its size, tilt and outline, the organs' shapes, intensities and grain, and the noise. Organs share
their intensities with each other and with unlabelled structures, so neither the grey value nor
the place in the grid tells an organ, only its place in the body.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from bench.phantoms.atlas import ABDOMEN, CROP, Atlas, Organ

SMALL_FIELD = 60.0  # mm; a field of view within it shows tissue only, as hippocampus crops do
LAYERS = 4  # air, skin fat, wall, inside: structures 0..3; organs and distractors follow
WALL, SKIN = 0.74, 0.86  # squared depth where the body wall and the skin's fat begin
MODES = 4  # cosines per axis in every smooth field


def organs(
    shape: Sequence[int],
    spacing: Sequence[float],
    labels: int,
    seed: int,
    index: int,
    *,
    modality: str = "CT",
) -> tuple[np.ndarray, np.ndarray]:
    """Return one synthetic patient: image float32 and label uint8, both (X, Y, Z) in RAS+.

    CT is in whole HU with air at -1000; MR is positive on a scale of the patient's own, with a
    bias field, and exactly 0 outside the body. Sizes follow the field of view, so one patient
    has the same shape at every resolution. ``labels`` organs are labelled 1..labels, the others
    of the atlas are drawn unlabelled. A field of view within 60 mm shows no body outline.

    Raises:
        ValueError: ``labels`` outside 1..13, or a modality other than CT and MR.
    """
    if not 1 <= labels <= len(ABDOMEN.organs):
        raise ValueError(f"labels must be 1 to {len(ABDOMEN.organs)}, not {labels}")
    if modality not in ("CT", "MR"):
        raise ValueError(f"modality must be CT or MR, not {modality!r}")
    extent = max(n * s for n, s in zip(shape, spacing, strict=True))
    atlas = CROP if extent <= SMALL_FIELD and labels <= len(CROP.organs) else ABDOMEN
    rng = generator(seed, index)
    structure = anatomy(atlas, shape, rng)
    image = acquired(structure, atlas, spacing, rng, modality)
    number = structure.astype(np.int16) - (LAYERS - 1)
    return image, np.where((number > 0) & (number <= labels), number, 0).astype(np.uint8)


def anatomy(atlas: Atlas, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return the structure of every voxel, uint8 (X, Y, Z): layers 0..3, organs, distractors."""
    points = body_place(tuple(shape), atlas, rng)
    x, y, z = points
    depth = x * x + y * y - 0.35 * (x * y) ** 2 + 0.06 * z * z  # between ellipse and box
    depth *= 1 + 0.06 * smooth_field(depth.shape, rng)
    if not atlas.outline:
        depth.fill(0)
    structure = np.full(depth.shape, LAYERS - 1, np.uint8)
    for layer, bound in ((2, WALL), (1, SKIN), (0, 1.0)):
        structure[depth > bound] = layer
    allowed = depth.ravel() <= WALL
    first = len(atlas.organs)
    # Distractors go first, in their order, and then organs from large to small, so that a small
    # organ is never painted over. Every structure draws before painting: the stream is fixed.
    shapes = [_personal(part, rng) for part in atlas.parts]
    by_size = sorted(range(first), key=lambda i: -float(np.prod(atlas.organs[i].radii)))
    flat = points.reshape(3, -1)
    for i in (*range(first, len(shapes)), *by_size):
        voxels = _inside(flat, atlas.parts[i], *shapes[i])
        structure.ravel()[voxels[allowed[voxels]]] = LAYERS + i
    return structure


def acquired(
    structure: np.ndarray,
    atlas: Atlas,
    spacing: Sequence[float],
    rng: np.random.Generator,
    modality: str,
) -> np.ndarray:
    """Return one scan of an anatomy, float32 (X, Y, Z), in the units that ``organs`` states."""
    grain = np.min(spacing) / np.asarray(spacing)  # one finest voxel, in voxels of each axis
    render = _ct if modality == "CT" else _mr
    return render(structure, atlas, grain, rng)


def generator(seed: int, index: int) -> np.random.Generator:
    """Return patient ``index``'s own stream, whatever other patients exist."""
    digest = hashlib.sha256(f"{seed}:phantom:{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def smooth_field(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Sum of low cosines with random weights, about unit spread; float32 of ``shape``."""
    order = np.arange(MODES)
    decay = 1.0 / (1.0 + (order[:, None, None] + order[:, None] + order) ** 2)
    weights = rng.standard_normal((MODES,) * 3) * decay
    weights[0, 0, 0] = 0.0  # a constant is an offset, which body_place draws by itself
    weights /= np.sqrt(np.sum(decay**2) / 8)
    for n in shape:  # contracts the first axis and appends x, then y, then z
        basis = np.cos(np.pi * np.outer(order, (np.arange(n) + 0.5) / n))
        weights = np.tensordot(weights, basis, axes=(0, 0))
    return weights.astype(np.float32)


def body_place(shape: tuple[int, ...], atlas: Atlas, rng: np.random.Generator) -> np.ndarray:
    """Return each voxel's place in the body, float32 (3, X, Y, Z); 1 is the half width."""
    offset = rng.uniform(-0.11, 0.11, 3)
    size = np.asarray(atlas.size) * rng.uniform(0.90, 1.06) * rng.uniform(0.96, 1.04, 3)
    tilt = (np.eye(3) + 0.03 * rng.standard_normal((3, 3))) / size[:, None]
    axes = np.meshgrid(
        *((2 * (np.arange(n) + 0.5) / n - 1 - o) for n, o in zip(shape, offset, strict=True)),
        indexing="ij",
        sparse=True,
    )
    points = np.empty((3, *shape), np.float32)
    for i in range(3):
        straight = tilt[i, 0] * axes[0] + tilt[i, 1] * axes[1] + tilt[i, 2] * axes[2]
        points[i] = straight + 0.035 * smooth_field(shape, rng)
    return points


def _personal(organ: Organ, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw this patient's centre and radii of a structure."""
    centre = np.asarray(organ.centre) + (organ.wander + 0.008) * rng.standard_normal(3)
    radii = np.asarray(organ.radii) * np.exp(0.06 * rng.standard_normal(3))
    return centre, radii


def _inside(points: np.ndarray, organ: Organ, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return the flat indices of the voxels inside a structure; ``points`` is (3, N)."""
    wide = float(np.hypot(radii[0], radii[1])) + abs(organ.bend) * float(radii[0]) ** 2
    near = np.abs(points[0] - np.float32(centre[0])) < wide
    near &= np.abs(points[1] - np.float32(centre[1])) < wide
    near &= np.abs(points[2] - np.float32(centre[2])) < radii[2]
    voxels = np.flatnonzero(near)
    dx, dy, dz = points[:, voxels] - centre.astype(np.float32)[:, None]
    cos, sin = np.cos(np.radians(organ.turn)), np.sin(np.radians(organ.turn))
    along = cos * dx + sin * dy
    across = cos * dy - sin * dx + organ.bend * along**2
    inside = (along / radii[0]) ** 2 + (across / radii[1]) ** 2 + (dz / radii[2]) ** 2 < 1
    return voxels[inside]


def _ct(
    structure: np.ndarray, atlas: Atlas, grain: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return HU: contrast phase, organ jitter, partial volume, texture, quantum noise."""
    means = np.array([*atlas.ct, *(part.ct for part in atlas.parts)])
    phase = rng.uniform(0.85, 1.15)
    jitter = 5 * rng.standard_normal(means.size)
    means = np.where(means > 90, means * phase, means)  # contrast agent, in what enhances
    means = np.where(np.abs(means) < 500, means + jitter, means)  # never air
    image = _render(structure, means)
    image += rng.uniform(8, 16) * _texture(structure, atlas, grain, rng)
    image += rng.uniform(6, 16) * rng.standard_normal(structure.shape, np.float32)
    return np.rint(image)


def _mr(
    structure: np.ndarray, atlas: Atlas, grain: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return magnitudes: patient's scale, bias field, texture, Rician noise; 0 in air."""
    means = np.array([*atlas.mr, *(part.mr for part in atlas.parts)])
    scale = np.exp(rng.uniform(np.log(150), np.log(3000)))
    means = means * np.exp(0.06 * rng.standard_normal(means.size))
    image = _render(structure, means)
    image += rng.uniform(0.02, 0.04) * _texture(structure, atlas, grain, rng)
    image *= np.exp(0.12 * smooth_field(structure.shape, rng))
    noise = rng.uniform(0.015, 0.045) * rng.standard_normal((2, *structure.shape), np.float32)
    image = np.float32(scale) * np.hypot(image + noise[0], noise[1])
    if atlas.outline:
        image[structure == 0] = 0
    return image


def _render(structure: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return each structure's mean, edges softened by a partial-volume blur; float32."""
    return ndimage.gaussian_filter(means.astype(np.float32)[structure], 0.6, truncate=3)


def _texture(
    structure: np.ndarray, atlas: Atlas, grain: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return unit-variance noise with each structure's own correlation length; none in air."""
    texture = np.zeros(structure.shape, np.float32)
    lengths = [1.5] * (LAYERS - 1) + [part.grain for part in atlas.parts]
    grain = grain * rng.uniform(0.8, 1.25)
    boxes = ndimage.find_objects(structure, max_label=len(lengths))
    for number, (box, length) in enumerate(zip(boxes, lengths, strict=True), start=1):
        if box is None:
            continue
        mine = structure[box] == number
        noise = rng.standard_normal(mine.shape, np.float32)
        noise = ndimage.gaussian_filter(noise, length * grain, truncate=3)
        texture[box][mine] = (noise / (noise.std() + 1e-6))[mine]
    return texture


def write_nifti(
    path: Path, array: np.ndarray, spacing: Sequence[float], dtype: np.typing.DTypeLike
) -> None:
    """Write (X, Y, Z) or (X, Y, Z, C) in RAS+, centred on the origin; ``.nii`` or ``.nii.gz``.

    Integers are rounded, not cut. The bytes depend on the arguments alone.
    """
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.asarray(array.shape[:3]) - 1) / 2
    write_placed(path, array, affine, dtype)


def write_placed(
    path: Path, array: np.ndarray, affine: np.ndarray, dtype: np.typing.DTypeLike
) -> None:
    """Write an array as it is to be stored, under an affine of its own; else as ``write_nifti``."""
    image = nibabel.Nifti1Image(_typed(array, dtype), affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_nrrd(
    path: Path, array: np.ndarray, spacing: Sequence[float], dtype: np.typing.DTypeLike
) -> None:
    """Write a RAS+ (X, Y, Z) array as the atrial challenge does: gzip, left-posterior-superior.

    The axes x and y are reversed in the file, so that its positive directions are true.
    Written here and not by pynrrd, whose header carries the time: equal phantoms, equal bytes.
    """
    data = np.asfortranarray(_typed(array, dtype)[::-1, ::-1])
    kind = {"float32": "float", "float64": "double"}.get(data.dtype.name, data.dtype.name)
    rows = np.diag([float(s) for s in spacing]).tolist()
    header = [
        "NRRD0005",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in data.shape),
        "space directions: " + " ".join("(" + ",".join(f"{v:g}" for v in r) + ")" for r in rows),
        *(["endian: little"] if data.dtype.itemsize > 1 else []),
        "encoding: gzip",
        "space origin: (0,0,0)",
    ]
    raw = data.astype(data.dtype.newbyteorder("<")).tobytes(order="F")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(header).encode() + b"\n\n" + gzip.compress(raw, 4, mtime=0))


def write_metaimage(
    path: Path,
    array: np.ndarray,
    spacing: Sequence[float],
    dtype: np.typing.DTypeLike,
    axes: str = "LPS",
    packed: bool = False,
) -> None:
    """Write a RAS+ (X, Y, Z) array as ``.mhd`` with its voxels beside it; the first one at 0 mm.

    Args:
        path: of the header.
        array: (X, Y, Z) in RAS+.
        spacing: mm along x, y, z.
        dtype: int16 or uint8.
        axes: directions that the stored axes point to; the matrix and the spacing say so.
        packed: ``.zraw`` instead of ``.raw``.
    """
    ras = nibabel.orientations.axcodes2ornt("RAS")
    turn = nibabel.orientations.ornt_transform(ras, nibabel.orientations.axcodes2ornt(axes))
    data = nibabel.orientations.apply_orientation(_typed(array, dtype), turn)
    places = ["RAS".find(a) if a in "RAS" else "LPI".find(a) for a in axes]
    to_lps = nibabel.orientations.axcodes2ornt(axes, labels=(("R", "L"), ("A", "P"), ("I", "S")))
    rows = np.zeros((3, 3), int)
    rows[np.arange(3), places] = to_lps[:, 1]
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": packed,
        "TransformMatrix": " ".join(str(n) for n in rows.ravel()),
        "Offset": "0 0 0",
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": " ".join(f"{spacing[i]:g}" for i in places),
        "DimSize": " ".join(str(n) for n in data.shape),
        "ElementType": {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[data.dtype.name],
        "ElementDataFile": path.with_suffix(".zraw" if packed else ".raw").name,
    }
    raw = data.astype(data.dtype.newbyteorder("<")).tobytes(order="F")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{field} = {value}\n" for field, value in header.items()))
    path.with_name(str(header["ElementDataFile"])).write_bytes(
        zlib.compress(raw, 4) if packed else raw
    )


def _typed(array: np.ndarray, dtype: np.typing.DTypeLike) -> np.ndarray:
    if np.issubdtype(np.dtype(dtype), np.integer):
        bounds = np.iinfo(np.dtype(dtype))
        array = np.clip(np.rint(array), bounds.min, bounds.max)
    return np.ascontiguousarray(array, dtype=dtype)
