"""One file per command, each with its ``body``: the only rooms that print. Heavy imports stay inside."""
