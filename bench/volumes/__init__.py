"""Files to arrays and back, with every check: NIfTI, NRRD, MetaImage, pictures, archives."""
