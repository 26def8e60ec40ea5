"""Synthetic 12-lead ECGs: a moving heart vector seen by nine electrodes, and a report that is true of it."""
