"""The PSF of every plane, from z-stacks of beads."""
