"""Resolution of the result: Fourier ring correlation, precision from neighbouring frames, distance of the molecules."""
