"""What the aligned space is for."""
