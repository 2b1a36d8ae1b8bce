"""Widths of a Gaussian."""

FWHM = 2.3548  # full width at half maximum over the standard deviation: 2 √(2 ln 2)
