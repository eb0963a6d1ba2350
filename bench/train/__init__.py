"""The one training loop, optimisers, schedules, checkpoints."""
