"""A simulated microscope: its camera files and the ground truth."""
