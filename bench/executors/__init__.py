"""Where jobs run. Claiming, fencing and publishing are the same for all (``bench.store``)."""
