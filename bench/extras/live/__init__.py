"""Pages of a run that goes on: drawn beside it, served on this machine."""
