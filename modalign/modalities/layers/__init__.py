"""Blocks of neural nets that two modalities, or two encoders, share. None knows a modality by name."""
