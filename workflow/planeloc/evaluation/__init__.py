"""A table measured, against the ground truth where it is known."""
