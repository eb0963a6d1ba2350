"""What each kind of job does: load, work, save."""
