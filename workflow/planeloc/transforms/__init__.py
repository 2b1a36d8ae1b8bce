"""Camera transforms and resampling with them."""
