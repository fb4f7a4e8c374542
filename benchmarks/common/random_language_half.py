"""Language halves of any size at random weights, with no checkpoint behind them.

The modules are those that the families load, the layers and the engine the product's own. There is
no tokenizer: a prompt is noise of a given length around one image.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLTextModel

from luvc_core.chat import Message
from luvc_core.models.base import LanguageHalf
from luvc_core.models.families.qwen2_vl import Qwen2VLLanguage
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, VisionTokens

_CPU = torch.device("cpu")
_TEXT_TOKENS = 64
_ROWS = 32


@dataclass(frozen=True)
class Shape:
    """A text model of Qwen2-VL. The default is that of Qwen2-VL-2B."""

    layers: int = 28
    hidden: int = 1536
    heads: int = 12
    kv_heads: int = 2
    mlp: int = 8960
    vocabulary: int = 151_936
    context: int = 32_768

    def config(self) -> Qwen2VLConfig:
        """Return the stock config, with the smallest tower that stock code accepts."""
        pairs = self.hidden // self.heads // 2
        sections = [pairs - 2 * (pairs * 3 // 8), pairs * 3 // 8, pairs * 3 // 8]
        text = {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": self.context,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": sections,
            },
        }
        # Stock code wants a tower: the smallest there is, never run.
        vision = {"depth": 1, "embed_dim": 16, "num_heads": 1, "hidden_size": self.hidden}
        return Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)


class _Noise:
    """Stands in for a tokenizer: half of the text, the image, the other half."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def text_of(self, ids: Sequence[int]) -> str:
        return ""

    def ids_of(
        self, messages: Sequence[Message[VisionTokens]]
    ) -> tuple[Tensor, Tensor, tuple[VisionTokens, ...]]:
        images = tuple(p for m in messages for p in m.parts if isinstance(p, VisionTokens))
        half = _TEXT_TOKENS // 2
        segment = torch.full((half,), -1)
        for number, random_image_tokens in enumerate(images):
            segment = torch.cat((segment, torch.full((random_image_tokens.token_count,), number)))
        segment = torch.cat((segment, torch.full((_TEXT_TOKENS - half,), -1)))
        noise = torch.Generator().manual_seed(0)
        return torch.randint(self._vocabulary, segment.shape, generator=noise), segment, images


def build(shape: Shape, dtype: torch.dtype, seed: int = 0) -> tuple[LanguageHalf, Any]:
    """Build a language half without end tokens, and the stock model of the same weights.

    Args:
        shape: of the text model.
        dtype: of the weights.
        seed: of the weights.

    Returns:
        The half, and the stock model.
    """
    torch.manual_seed(seed)
    config = shape.config()
    with torch.device("meta"):
        stock = Qwen2VLForConditionalGeneration._from_config(config, dtype=dtype)
    text = Qwen2VLTextModel._from_config(config.text_config, dtype=dtype).requires_grad_(False)
    head = nn.Linear(shape.hidden, shape.vocabulary, bias=False, device="meta")
    head.weight = text.embed_tokens.weight
    # A copy, as the half packs its own.
    stock.model.language_model, stock.lm_head = copy.deepcopy(text).eval(), head
    opened: Any = SimpleNamespace(identity=identity(shape))
    tokenizer: Any = _Noise(shape.vocabulary)
    half = Qwen2VLLanguage(opened, text.eval(), head, tokenizer, frozenset())
    return half, stock.eval()


def random_image_tokens(shape: Shape, tokens: int, dtype: torch.dtype) -> VisionTokens:
    """Make visual tokens of noise for one image.

    Args:
        shape: of the text model.
        tokens: how many, a multiple of 32.
        dtype: of the embeddings.

    Returns:
        The tokens, on a grid of 32 rows.
    """
    grid = Grid(1, _ROWS, tokens // _ROWS)
    noise = torch.Generator().manual_seed(1)
    positions = torch.cartesian_prod(
        torch.zeros(1, dtype=torch.long), torch.arange(grid.rows), torch.arange(grid.columns)
    )
    return VisionTokens(
        torch.randn(tokens, shape.hidden, generator=noise).mul(0.02).to(dtype),
        (Piece(grid, grid),),
        positions.float(),
        torch.ones(tokens),
        identity(shape),
        "",
    )


def identity(shape: Shape) -> Identity:
    """Return the identity of a random model of a shape."""
    return Identity("qwen2_vl", "random", "", "", "", shape.hidden)
