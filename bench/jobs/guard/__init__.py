"""Guard: which cases of a pretraining also stand in a downstream test part."""
