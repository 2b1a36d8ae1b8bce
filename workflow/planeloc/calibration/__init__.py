"""The PSF of every plane, from bead scans."""
