"""How any job runs: claimed, done, published; by which source; in which process."""
