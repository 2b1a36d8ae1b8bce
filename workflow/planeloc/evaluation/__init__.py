"""Accuracy of localizations against the ground truth, and their distributions without one."""
