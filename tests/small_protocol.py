"""A protocol that plans in no time, and how tests look into its plan."""

from bench.data import split

NAME, CASES = "msd04_hippocampus", 20
PATIENTS = [f"hippocampus_{i + 1:03d}" for i in range(CASES)]
EVENLY = sorted(PATIENTS, key=lambda p: split.unit("even", NAME, p))
TEST, VAL, TRAIN = sorted(EVENLY[:4]), sorted(EVENLY[4:6]), sorted(EVENLY[6:])
CELLS = {"dataset": NAME, "split": "even", "fractions": [25, 100], "seeds": [0, 1]}
BASE = {
    "title": "Test",
    "networks": {"net": {"network": "unet3d", "preset": "tiny", "crop": [32, 32, 32]}},
    "rows": {
        "alone": {"method": "scratch", "network": "net"},
        "pair": {"method": "simclr3d", "network": "net"},
    },
    "pretrain": {"datasets": [{"dataset": NAME}], "steps": 8},
    "finetune": [{**CELLS, "steps": 6, "hold": "steps"}],
}


def ids(plan, *kinds):
    return {j.id for j in plan.jobs.values() if not kinds or j.kind in kinds}


def cell(plan, **columns):
    every = (cell for cells in plan.cells.values() for cell in cells)
    (result,) = (cell for cell in every if columns.items() <= cell.columns.items())
    return result
