"""Self-supervised pretraining with normalization as a free choice and collapse measured live."""

__version__ = "0.1.0"
