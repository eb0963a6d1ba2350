"""What ``bench new`` writes, under names of its own: files that run and are tested as they stand."""
