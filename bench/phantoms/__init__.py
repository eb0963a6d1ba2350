"""Synthetic anatomy in the layouts of real data sets."""
