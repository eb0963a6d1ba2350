"""What may be claimed from scores: arrays in, numbers out. Scores are 0 to 1 (mm for distances)."""
