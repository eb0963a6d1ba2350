"""What a person is shown: progress, the plan, the state of an output folder, listings, reports."""
