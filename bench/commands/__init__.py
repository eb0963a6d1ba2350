"""The commands, the only rooms that print: those of few lines in ``short``. Heavy imports stay inside."""
