"""Offset, gain and noise of every camera, measured by photon transfer."""
