"""What a plan needs of a graphics card: a step of each training, counted on a device that is not there."""
