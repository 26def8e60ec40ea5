"""How things are aligned: the core. It knows no modality by name."""
