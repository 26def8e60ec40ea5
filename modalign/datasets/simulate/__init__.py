"""Simulators: data sets that need no recording."""
