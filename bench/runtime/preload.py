"""Importing this imports what every job needs, so that a worker pays for it once."""

import bench.jobs.evaluate.run
import bench.jobs.finetune.run
import bench.jobs.prepare.run
import bench.jobs.pretrain.run  # noqa: F401
