"""Jobs by hand: of specs as JSON has them, over the least that each kind needs."""

from bench import jobs

NET = {"network": "unet3d", "preset": "tiny", "crop": [16, 16, 16], "in_channels": 1, "version": 1}
METHOD = {"name": "simclr3d", "version": 1, "params": {}}
PART = {"dataset": "d", "part": "test", "task": "segmentation"}
NET2 = {**NET, "out_channels": 2}
TUNED = {"dataset": "d", "task": "segmentation", "fraction": 100, "n_train": None}
LEAST = {
    "prepare": {"dataset": "d", "dataset_version": 1, "recipe": {}, "contents": None},
    "guard": {},
    "pretrain": {"method": METHOD, "network": NET, "data": [], "pretrain": {"steps": 1}, "seed": 0},
    "finetune": {
        "network": NET2,
        "init": "random",
        "finetune": {"steps": 1},
        "seed": 0,
        "data": TUNED,
    },
    "evaluate": {"data": PART, "weights": "last", "inference": {"crop": [16, 16, 16]}},
    "latency": {"network": NET2, "task": "segmentation"},
    "embed": {"network": NET, "init": "random", "data": [], "samples": 1, "seed": 0},
}


def a_job(kind, spec=None, needs=()):
    """Return a job of the least spec with what ``spec`` says over it."""
    spec = {**LEAST[kind], **(spec or {})}
    return jobs.read({"kind": kind, "spec": spec, "needs": needs}, "by hand")


def altered(made, **sections):
    """Return a job with other values in sections of its spec, or another value for one that is no section."""
    spec = made.plain()["spec"]
    for name, over in sections.items():
        spec[name] = {**spec[name], **over} if isinstance(over, dict) else over
    return a_job(made.kind, spec, made.needs)
