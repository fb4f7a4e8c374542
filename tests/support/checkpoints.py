"""Conversations with the random checkpoints, and what makes both: see `benchmarks.common`."""

from benchmarks.common.noise_images import encoded, noise_image
from benchmarks.common.random_checkpoints import (
    random_model,
    write_checkpoint,
    write_tokenizer,
    write_weights,
)
from luvc_core.chat import Message
from luvc_core.visual_tokens.vision_tokens import VisionTokens

__all__ = [
    "ask", "encoded", "noise_image", "random_model", "two_images", "write_checkpoint",
    "write_tokenizer", "write_weights",
]  # fmt: skip


def ask(*parts: str | VisionTokens) -> tuple[Message[VisionTokens], ...]:
    """Make a conversation of one question."""
    return (Message("user", parts),)


def two_images(images: list[VisionTokens]) -> tuple[Message[VisionTokens], ...]:
    """Ask about two images."""
    return ask("First ", images[0], " then ", images[1], " which one?")
