"""Two output folders, cell by cell: what changed by more than noise."""
