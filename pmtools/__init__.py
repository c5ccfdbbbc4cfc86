"""Magnify what matters in an image, keep the rest in place, and undo it exactly."""

__version__ = "0.1.0"
