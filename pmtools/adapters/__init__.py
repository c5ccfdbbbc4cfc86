"""The thin layer onto torch and transformers: attention capture, image-token layouts, pixels, caches."""

from __future__ import annotations

from pmtools.adapters.attention import AttentionTap, capture_attention

__all__ = ["AttentionTap", "capture_attention"]
