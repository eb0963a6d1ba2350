"""Importing this imports what every job needs, so that a worker pays for it once."""

import bench.jobs.evaluating
import bench.jobs.finetuning
import bench.jobs.preparing
import bench.jobs.pretraining  # noqa: F401
