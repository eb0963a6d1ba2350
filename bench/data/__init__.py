"""Volumes from files to crops: reading, recipes, the chunked cache, splits, checks, phantoms."""
