"""What can be aligned: one folder a modality, one registry."""

from modalign.modalities.registry import get_modality, list_modalities, register_modality

__all__ = ["get_modality", "list_modalities", "register_modality"]
