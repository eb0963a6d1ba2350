"""What TensorBoard, MLflow and W&B are told of a run: a file each, one interface, and who follows the jobs.

Nothing here runs inside a job: all is read from what jobs leave, so it is the same for workers and SLURM.
"""
