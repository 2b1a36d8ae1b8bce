"""Simulated scenes that networks learn from, and matching with their ground truth."""
