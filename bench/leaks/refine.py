"""Put what passed the screen in a better order: its likeliest turns, their boxes moved axis by axis.

The screen's few boxes lie beside the right one, by up to a tenth of an axis. Here every interval of one axis
is tried after the other, which costs a hundredth of trying every box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.leaks.cosines import Basis, signs
from bench.leaks.poses import View
from bench.leaks.screen import turns

# turns of a pair of channels, in either direction, that each sweep over the axes follows
FOLLOWED = (8, 4)
BLOCK = 32  # copies at a time: their boxes fit into the cache
Seen = tuple[np.ndarray, np.ndarray]  # boxes of one channel, and n copies in every turn


def vectors(view: View, basis: Basis) -> np.ndarray:
    """Return a whole channel in every turn, float32 (turn, cosine)."""
    ordered = np.einsum("fp,poc->ofpc", signs(basis.axes), basis.copies(view.thumbnail))
    return ordered.reshape(-1, ordered.shape[2] * ordered.shape[3])


def boxes(view: View, basis: Basis) -> np.ndarray:
    """Return every box of a channel, (interval, interval[, interval], cosine), unit length each."""
    vectors = basis.boxes(view.thumbnail)
    vectors = vectors.reshape(-1, vectors.shape[-1]).T
    return np.ascontiguousarray(vectors).reshape(*[len(basis.ends)] * basis.axes, -1)


def refined(coarse: Seen, bases: tuple[Basis, Basis], sweeps: Sequence[Seen]) -> np.ndarray:
    """Return the best correlation of a box of one channel with each of n copies, (n,).

    ``coarse`` is as the screen knows them, ``bases`` are the screen's and, for their intervals, the sweeps';
    ``sweeps`` is what each sweep sees, as ``boxes`` and ``vectors`` give it.
    """
    starts = nearest(*bases)
    best_fits = []
    for first in range(0, coarse[1].shape[1], BLOCK):
        block = slice(first, first + BLOCK)
        fits, box = turns(coarse[0], coarse[1][:, block])
        row, turn = np.arange(len(fits))[:, None], _highest(fits, FOLLOWED[0])
        places = np.unravel_index(box[row, turn], (len(starts),) * bases[0].axes)
        at = [starts[index] for index in places]
        fits = fits[row, turn]
        for (every, copies), few in zip(sweeps, FOLLOWED, strict=True):
            best = _highest(fits, few)
            turn, *at = (each[row, best] for each in (turn, *at))
            fits = _swept(every, copies[block][row, turn], at)
        best_fits.append(fits.max(1))
    return np.concatenate(best_fits)


def _highest(values: np.ndarray, number: int) -> np.ndarray:
    """Return where the highest values of each row are, (row, number)."""
    return np.argpartition(-values, number - 1, axis=1)[:, :number]


def _swept(every: np.ndarray, copies: np.ndarray, at: list[np.ndarray]) -> np.ndarray:
    """Move boxes along one axis after the other; return their correlations with copies (n, turn, cosine).

    ``at``: the interval (n, turn) along each axis, which changes.
    """
    for axis in range(len(at)):
        others = tuple(index for n, index in enumerate(at) if n != axis)
        lines = np.moveaxis(every, axis, -2)[others]
        fits = np.matmul(np.ascontiguousarray(lines), copies[..., None])[..., 0]
        at[axis] = fits.argmax(-1)
    return fits.max(-1)


def nearest(coarse: Basis, fine: Basis) -> np.ndarray:
    """Return, for every interval of one basis, the number of the other's that is nearest to it."""
    apart = np.abs(np.array(coarse.ends)[:, None] - np.array(fine.ends)).sum(-1)
    return apart.argmin(1)
