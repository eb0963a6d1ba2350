"""Prepare: every volume of one data set, oriented, resampled, scaled and packed once."""
