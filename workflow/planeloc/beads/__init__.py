"""Beads: detected, fitted, matched between the cameras, cut out of their stacks once."""
