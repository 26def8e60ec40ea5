"""What X-ray and CT share: DICOM, 2-D encoders and their checkpoints. None of it knows a modality by name."""
