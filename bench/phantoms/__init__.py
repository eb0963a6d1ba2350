"""Synthetic anatomy in the layouts of real data sets.

Who draws a patient takes ``shape`` (voxels along x, y, z), ``spacing`` (mm), ``seed`` (of all patients) and
``index`` (of this one), and returns a pure function of these, in RAS+, whoever else is drawn.
"""
