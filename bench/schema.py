"""What the JSON files of an output folder hold, as ``bench.typed.build`` takes it."""

DESCRIBED = {"kind": str, "spec": dict, "needs": [str]}  # of a job
SPEC = {"job": DESCRIBED}  # job.json
MANIFEST = {  # manifest.json
    **{f"{key}?": kind for key, kind in DESCRIBED.items()},
    "seconds?": float,
    "attempts?": int,
    "peak_memory_mb?": float,
    "peak_device_mb?": float,
    "steps?": int,
    "samples?": int,
    "voxels?": int,
    "cases?": int,
    "provenance?": {"source?": str, "sources?": {"*": str}, "begun_by?": [str]},
    "files?": {"*": {"sha256": str, "bytes": int}},
    "digest?": str,
}
FAILED = {"reason": str, "kind": str, "log": str, "attempts": int}  # failed.json
PROGRESS = {"step": int, "steps": int}  # progress.json
# claim-*; empty once let go
CLAIM = {"host": str, "pid": int, "start": str, "sight?": str, "task?": str}
