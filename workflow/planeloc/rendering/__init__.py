"""From the table to the super-resolution image."""
