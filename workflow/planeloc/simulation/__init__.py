"""A simulated microscope, its camera files, and their ground truth."""
