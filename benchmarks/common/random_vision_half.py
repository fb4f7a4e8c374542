"""Vision halves of any size at random weights, with no checkpoint behind them.

The modules are those that the families load, the loops over them the product's own. Only
`preprocess` and `preprocess_video` do not work: there are no processors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import (
    InternVLConfig,
    InternVLVisionModel,
    LlavaOnevisionConfig,
    SiglipVisionModel,
)
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionMultiModalProjector,
)
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

from luvc_core.models.base import Patches, VisionHalf
from luvc_core.models.families.internvl import InternVLVision
from luvc_core.models.families.llava_onevision_vision import LlavaOnevisionVision, TiledPatches
from luvc_core.models.families.qwen2_vl import Qwen2VLVision
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid

PATCH = 14  # pixels, in every family
_CPU = torch.device("cpu")
_NO_VIDEOS: Any = SimpleNamespace(sampling=None, even_sampling=lambda middle: None)


@dataclass(frozen=True)
class Geometry:
    """A tower and what it is shown.

    Attributes:
        family: whose tower it is.
        depth: blocks.
        width: of a token in the tower.
        mlp: inner width of a block.
        heads: of attention.
        side: patches along each side of a frame.
        frames: or tiles.
        prefix: tokens outside the grid.
        multiple: what the projector needs the sides to be a multiple of.
        hidden: width of the LLM.
    """

    family: str
    depth: int
    width: int
    mlp: int
    heads: int
    side: int
    frames: int = 1
    prefix: int = 0
    multiple: int = 2
    hidden: int = 3584

    def block_flops(self, tokens: int) -> int:
        """Return the operations of one block over all frames, with so many tokens on each grid."""
        count = tokens + self.prefix
        linear = 2 * count * self.width * (4 * self.width + 2 * self.mlp)
        attention = 4 * count**2 * self.width
        return self.frames * (linear + attention)


def build(geometry: Geometry, seed: int = 0) -> tuple[VisionHalf, Patches]:
    """Build the half in float32, and an image of noise for it."""
    torch.manual_seed(seed)
    with torch.inference_mode():
        return _BUILDERS[geometry.family](geometry)


def _qwen2_vl(g: Geometry) -> tuple[VisionHalf, Patches]:
    config = Qwen2VLVisionConfig(
        depth=g.depth, embed_dim=g.width, hidden_size=g.hidden, num_heads=g.heads,
        mlp_ratio=g.mlp // g.width,
    )  # fmt: skip
    tower = _ready(Qwen2VisionTransformerPretrainedModel._from_config(config))
    pixels = torch.randn(g.frames * g.side**2, 3 * 2 * PATCH**2)
    half = Qwen2VLVision(_identity(g), tower, None, _NO_VIDEOS, _CPU)
    return half, Patches(pixels, Grid(g.frames, g.side, g.side))


def _internvl(g: Geometry) -> tuple[VisionHalf, Patches]:
    vision = _vision_settings(g) | {"image_size": [g.side * PATCH] * 2, "attention_bias": True}
    config = InternVLConfig(vision_config=vision, text_config=_text_settings(g))
    tower = _ready(InternVLVisionModel._from_config(config.vision_config))
    projector = _ready(InternVLMultiModalProjector(config))
    half = InternVLVision(_identity(g), tower, projector, None, _NO_VIDEOS)
    return half, Patches(_tiles(g), Grid(g.frames, g.side, g.side))


def _llava_onevision(g: Geometry) -> tuple[VisionHalf, Patches]:
    """Build the half. One frame is an image shown whole; several lie side by side."""
    vision = _vision_settings(g) | {
        "model_type": "siglip_vision_model",
        "image_size": g.side * PATCH,
        "vision_use_head": False,
    }
    config = LlavaOnevisionConfig(vision_config=vision, text_config=_text_settings(g))
    tower = _ready(SiglipVisionModel._from_config(config.vision_config))
    projector = _ready(LlavaOnevisionMultiModalProjector(config))
    opened: Any = SimpleNamespace(config=config)
    newline: Any = SimpleNamespace(weight=torch.randn(g.hidden))
    half = LlavaOnevisionVision(_identity(g), opened, tower, projector, newline, None, _NO_VIDEOS)
    size = (g.side * PATCH, g.side * PATCH)
    return half, TiledPatches(_tiles(g), Grid(g.frames, g.side, g.side), None, size)


_BUILDERS: Mapping[str, Callable[[Geometry], tuple[VisionHalf, Patches]]] = {
    "qwen2_vl": _qwen2_vl,
    "internvl": _internvl,
    "llava_onevision": _llava_onevision,
}


def _ready(module: Any) -> Any:
    """Give every weight a value, as some modules leave theirs unset."""
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)
        else:
            nn.init.ones_(weight)
    return module.requires_grad_(False).eval()


def _vision_settings(g: Geometry) -> dict[str, Any]:
    return {
        "hidden_size": g.width,
        "num_hidden_layers": g.depth,
        "num_attention_heads": g.heads,
        "intermediate_size": g.mlp,
        "patch_size": PATCH,
    }


def _text_settings(g: Geometry) -> dict[str, Any]:
    return {"model_type": "qwen2", "hidden_size": g.hidden}


def _tiles(g: Geometry) -> torch.Tensor:
    return torch.randn(g.frames, 3, g.side * PATCH, g.side * PATCH)


def _identity(g: Geometry) -> Identity:
    return Identity(g.family, "random", "", "", "", g.hidden)
