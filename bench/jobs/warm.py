"""Importing this imports what every job needs, so that a worker pays for it once."""

import bench.jobs.evaluate
import bench.jobs.finetune
import bench.jobs.prepare
import bench.jobs.pretrain  # noqa: F401
