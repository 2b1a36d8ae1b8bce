"""What everything rests on: errors, settings, files, progress, provenance, devices, memory."""
