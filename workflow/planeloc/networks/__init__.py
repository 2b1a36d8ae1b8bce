"""Networks: their record, architectures, decoding and tiles."""
