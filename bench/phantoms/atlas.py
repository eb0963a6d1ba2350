"""The fixed anatomies of the phantoms, in body coordinates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Organ:
    """A bent ellipsoid in body coordinates: 1 is the body's half width, +x right, +y anterior."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    ct: float  # HU in the portal-venous phase
    mr: float  # share of the patient's scale
    grain: float = 1.0  # correlation length of its texture, voxels of the finest axis
    turn: float = 0.0  # degrees about z
    bend: float = 0.0  # shift along y for every squared unit of x; makes beans and bananas
    wander: float = 0.0  # standard deviation of its place, beyond what the body does


@dataclass(frozen=True)
class Atlas:
    """A fixed anatomy. Organs are labelled in order; the rest are drawn and never labelled."""

    organs: tuple[Organ, ...]
    distractors: tuple[Organ, ...]
    size: tuple[float, float, float]  # half width of the body over half the field of view
    ct: tuple[float, float, float, float]  # HU of the layers
    mr: tuple[float, float, float, float]
    outline: bool = True

    @property
    def parts(self) -> tuple[Organ, ...]:
        """Return all that is drawn, the organs first."""
        return (*self.organs, *self.distractors)


ABDOMEN = Atlas(
    # In the order of BTCV's labels. Twins: the kidneys. Small and faint: the gallbladder in CT,
    # the adrenals in MR; both are enlarged so that a coarse grid keeps them.
    organs=(
        Organ((-0.58, -0.24, 0.36), (0.19, 0.32, 0.32), 118, 0.42, 1.0, turn=-20, bend=0.6),
        Organ((0.45, -0.38, -0.22), (0.15, 0.19, 0.33), 172, 0.55, 1.4, bend=1.2),
        Organ((-0.45, -0.38, -0.14), (0.15, 0.19, 0.33), 172, 0.55, 1.4, bend=1.2),
        Organ((0.34, 0.46, 0.00), (0.09, 0.11, 0.14), 4, 0.95, 2.5),
        Organ((-0.10, -0.13, 0.72), (0.06, 0.07, 0.20), 55, 0.36, 1.0),
        Organ((0.46, 0.05, 0.42), (0.52, 0.62, 0.46), 112, 0.45, 2.0, turn=25),
        Organ((-0.34, 0.28, 0.36), (0.28, 0.22, 0.27), 58, 0.38, 3.0, turn=30, bend=-0.8),
        Organ((-0.08, -0.31, 0.00), (0.07, 0.085, 1.70), 165, 0.15, 0.7),
        Organ((0.12, -0.27, 0.05), (0.075, 0.085, 1.50), 150, 0.18, 0.7),
        Organ((0.08, 0.02, 0.06), (0.27, 0.055, 0.08), 160, 0.17, 0.7, turn=-18),
        Organ((-0.10, 0.10, -0.10), (0.33, 0.10, 0.11), 100, 0.48, 1.6, turn=-15, bend=-0.7),
        Organ((0.27, -0.25, 0.24), (0.06, 0.07, 0.13), 68, 0.55, 0.8, turn=35),
        Organ((-0.27, -0.25, 0.28), (0.06, 0.07, 0.13), 68, 0.55, 0.8, turn=-35),
    ),
    distractors=(
        Organ((0.00, -0.62, 0.00), (0.15, 0.17, 4.00), 230, 0.25, 1.2),  # spine
        Organ((0.00, -0.82, 0.00), (0.40, 0.12, 4.00), 62, 0.32, 1.0),  # muscles of the back
        Organ((0.24, -0.56, -0.45), (0.11, 0.12, 0.60), 62, 0.32, 1.0),  # psoas
        Organ((-0.24, -0.56, -0.45), (0.11, 0.12, 0.60), 62, 0.32, 1.0),
        Organ((0.55, 0.12, -0.55), (0.16, 0.18, 0.28), 112, 0.45, 1.8, wander=0.06),  # bowel
        Organ((-0.58, 0.12, -0.42), (0.13, 0.16, 0.34), 172, 0.55, 1.4, wander=0.06),
        Organ((0.16, 0.40, -0.52), (0.30, 0.12, 0.12), 118, 0.42, 1.2, bend=1.0, wander=0.06),
        Organ((-0.22, 0.44, -0.30), (0.24, 0.12, 0.12), 100, 0.48, 1.6, wander=0.06),
        Organ((-0.14, 0.16, -0.62), (0.26, 0.14, 0.11), 68, 0.34, 0.8, wander=0.06),
        Organ((0.18, 0.10, -0.78), (0.28, 0.15, 0.12), 172, 0.55, 1.4, wander=0.06),
        Organ((0.56, 0.17, -0.48), (0.08, 0.07, 0.12), -850, 0.02, 1.0, wander=0.04),  # gas
        Organ((0.16, 0.46, -0.52), (0.12, 0.05, 0.07), -850, 0.02, 1.0, wander=0.05),
        Organ((-0.57, 0.20, -0.40), (0.06, 0.05, 0.14), -850, 0.02, 1.0, wander=0.04),
    ),
    size=(0.80, 0.62, 0.92),
    ct=(-1000, -105, 62, -20),
    mr=(0, 0.80, 0.32, 0.62),
)
CROP = Atlas(
    # A curved structure in an anterior and a posterior part of one intensity, and a faint one.
    # Nothing reaches the corners: what lies there would show the body's size, a short cut.
    organs=(
        Organ((0.06, 0.27, -0.10), (0.33, 0.30, 0.30), 48, 0.52, 1.2, turn=-15),
        Organ((-0.06, -0.26, 0.10), (0.25, 0.42, 0.24), 48, 0.52, 1.2, turn=15),
        Organ((-0.52, 0.10, -0.42), (0.20, 0.22, 0.22), 38, 0.62, 0.8),
    ),
    distractors=(
        Organ((0.02, 0.84, 0.00), (0.40, 0.26, 0.36), 48, 0.52, 1.2, wander=0.03),
        Organ((-0.84, -0.12, 0.58), (0.42, 0.40, 0.42), 48, 0.52, 1.2, wander=0.03),
        Organ((0.55, -0.76, -0.02), (0.34, 0.48, 0.30), 48, 0.52, 1.2, wander=0.03),
        Organ((0.42, -0.05, 0.32), (0.14, 0.52, 0.15), 8, 0.18, 2.0, bend=0.5, wander=0.03),
        Organ((0.86, 0.05, -0.10), (0.16, 0.48, 0.90), 8, 0.18, 2.0, wander=0.03),
    ),
    size=(0.95, 0.95, 0.95),
    ct=(28, 28, 28, 28),
    mr=(0.74, 0.74, 0.74, 0.74),
    outline=False,
)
