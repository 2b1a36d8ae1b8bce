"""Cameras and the microscope: counts to photons, pixel noise, the microscope file."""
