"""Fits of Gaussians, of single emitters and of all emitters of a frame together."""
