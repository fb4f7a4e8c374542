"""A text model of transformers, run layer by layer on a prompt or on a batch of new tokens."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from luvc_core.errors import CheckpointError
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import LanguageHalf, Rotary
from luvc_core.models.checkpoint.layout import Layout, OpenedCheckpoint
from luvc_core.models.checkpoint.resolve import Checkpoint
from luvc_core.models.text.attention import PROMPT_ATTENTION, attend_each, rotate
from luvc_core.models.text.chat_tokenizer import ChatTokenizer
from luvc_core.models.text.packed_linear import pack, packed
from luvc_core.models.text.visual_marks import ImageMarks, VideoMarks


class TextHalf(LanguageHalf):
    """A language half whose decoder layers are like Llama's: they take rotary tables and a cache.

    A family adds its names and `tokenize`.

    Attributes:
        layout: of the family's checkpoints.
        marks: special tokens of an image.
        video_marks: special tokens of a video; None where the family takes none.
        text_models: classes of transformers by `model_type` of the text settings.
    """

    layout: ClassVar[Layout]
    marks: ClassVar[ImageMarks]
    video_marks: ClassVar[VideoMarks | None] = None
    text_models: ClassVar[Mapping[str, Any]]

    def __init__(
        self,
        opened: OpenedCheckpoint,
        text: Any,
        head: nn.Linear,
        tokenizer: ChatTokenizer,
        stop: frozenset[int],
    ) -> None:
        """Make a half of modules that hold their weights.

        Args:
            opened: the checkpoint.
            text: text model of transformers.
            head: linear layer from hidden states to logits, without bias.
            tokenizer: of the checkpoint.
            stop: ids that end an answer.
        """
        self.identity = opened.identity
        self.layer_count = len(text.layers)
        self.context_length = text.config.max_position_embeddings
        self.stop_ids = stop
        self.device = head.weight.device
        self.dtype = text.dtype
        attention = text.layers[0].self_attn
        self.cache_row_bytes = (
            attention.k_proj.out_features + attention.v_proj.out_features
        ) * self.dtype.itemsize
        matrices = (w for w in text.layers[0].parameters() if w.ndim == 2)
        self.row_flops = 2 * sum(w.numel() for w in matrices)
        pack(text)
        self._text = text
        self._cache_argument = _cache_argument(text.layers[0])
        self._head = packed(head)
        self._tokenizer = tokenizer
        self._rotary = type(text.rotary_emb)(text.config).to(self.device)

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Self:
        opened = cls.layout.open(checkpoint)
        settings = opened.config.text_config
        _check_text(checkpoint, settings, cls.text_models)
        with torch.device("meta"):
            text = cls.text_models[settings.model_type]._from_config(
                settings, attn_implementation=PROMPT_ATTENTION
            )
            head = nn.Linear(settings.hidden_size, settings.vocab_size, bias=False)
        opened.weights.load_into(text, "language.", device, dtype)
        # As in transformers, a stored head is used even where the settings tie it to the embedding.
        if opened.config.tie_word_embeddings and not opened.weights.names("lm_head."):
            head.weight = text.embed_tokens.weight
        else:
            opened.weights.load_into(head, "lm_head.", device, dtype)
        tokenizer = ChatTokenizer(checkpoint, cls.marks, cls.video_marks)
        return cls(opened, text, head, tokenizer, tokenizer.stop_ids(checkpoint))

    def text_of(self, ids: Sequence[int]) -> str:
        return self._tokenizer.text_of(ids)

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self._text.embed_tokens(ids)
        return embedded

    def rotary(self, positions: Tensor) -> Rotary:
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        axes = positions.to(self.device).T
        # [3, 1, length] for M-RoPE, [1, length] for the plain kind.
        cos, sin = self._rotary(like, axes.unsqueeze(1) if axes.shape[0] > 1 else axes)
        return cos, sin

    def layer(self, index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        mask = _causal_mask(hidden, cache)
        return self.stock_layer(index, hidden, rotary, cache, mask, key_bias=cache.bias)

    def stock_layer(
        self,
        index: int,
        hidden: Tensor,
        rotary: Rotary,
        cache: LayerCache,
        mask: Tensor | None,
        **options: Any,
    ) -> Tensor:
        """Run a decoder layer of transformers, in whichever supported release it is written.

        Args:
            index: of the layer.
            hidden: [new, hidden size], what enters the layer.
            rotary: tables of the new rows.
            cache: keys and values of the rows before; it grows by the new ones.
            mask: as scaled_dot_product_attention takes it, [1, 1, new, all], or None for causal.
            options: passed on to the attention function.

        Returns:
            [new, hidden size], what leaves the layer.
        """
        out: Tensor = self._text.layers[index](
            hidden.unsqueeze(0),
            attention_mask=mask,
            position_embeddings=rotary,
            **{self._cache_argument: _CacheAdapter(cache)},
            **options,
        )
        return out.squeeze(0)

    def decode_layer(
        self, index: int, hidden: Tensor, rotary: Rotary, caches: Sequence[LayerCache]
    ) -> Tensor:
        layer = self._text.layers[index]
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        queries, keys, values = (
            projection(normed).unflatten(1, (-1, attention.head_dim))
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended = attend_each(
            rotate(queries, rotary), rotate(keys, rotary), values, caches, attention.scaling
        )
        hidden = hidden + attention.o_proj(attended)
        out: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._head(self._text.norm(hidden))
        return logits.float()


class _CacheAdapter:
    """Stands in for a cache of transformers: appends keys and values to a LayerCache."""

    def __init__(self, cache: LayerCache) -> None:
        self._cache = cache

    def update(
        self, keys: Tensor, values: Tensor, layer_index: int, **options: Any
    ) -> tuple[Tensor, Tensor]:
        # From 5.24 on, layers pass their own keyword arguments along as `kwargs`.
        return self._cache.append(keys, values)


def _cache_argument(layer: nn.Module) -> str:
    """Name the argument by which a decoder layer takes its cache: 5.24 renamed it."""
    names = inspect.signature(layer.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _causal_mask(hidden: Tensor, cache: LayerCache) -> Tensor | None:
    """bool [1, 1, new, all], or None where the layer's own rule, causal from 0, is right."""
    new = hidden.shape[0]
    if new == 1 or cache.length == 0:
        return None
    visible = torch.ones(new, cache.length + new, dtype=torch.bool, device=hidden.device)
    return visible.tril(cache.length)[None, None]


def _check_text(checkpoint: Checkpoint, settings: Any, known: Mapping[str, Any]) -> None:
    if settings.model_type not in known:
        raise CheckpointError(
            f"{checkpoint.folder}: text model {settings.model_type!r} is not supported; "
            f"supported: {', '.join(known)}"
        )
    if "sliding_attention" in (getattr(settings, "layer_types", None) or ()):
        raise CheckpointError(f"{checkpoint.folder}: sliding-window attention is not supported")
