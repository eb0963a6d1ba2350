"""A method that pretrains on slices: the files that differ from those of a method in 3D."""
