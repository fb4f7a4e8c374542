"""The families as the tests see them: a small model of each, and how stock code is asked."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from luvc_core.models import internvl, llava_onevision, qwen2_vl
from luvc_core.models.base import Patches
from luvc_core.models.layout import Layout
from tests import templates

# One tokenizer for all, each family uses some of them.
SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>", "<img>", "</img>", "<IMG_CONTEXT>", "<image>", "<video>",
)  # fmt: skip
VOCABULARY = 272  # 256 bytes, the specials, and a few rows to spare as in real checkpoints


def token_id(text: str) -> int:
    return 256 + SPECIALS.index(text)


@dataclass(frozen=True)
class Kit:
    """One family.

    stock: the whole model. config: from text settings and whether the head is tied. hub_names: from
    prefixes of transformers 5 to those of the hub, the first that fits applies. hub_config: the
    same for the settings. inputs: what the stock model's `get_image_features` takes for pictures.
    processor: the stock one for text and pictures together, its picture half and its settings.
    token_names: attributes that it expects of its tokenizer. side: of a tile, in visual tokens; 0
    where the picture is not cut.
    """

    name: str
    stock: Any
    config: Callable[[dict[str, Any], bool], Any]
    preprocessing: Mapping[str, Any]
    template: str
    placeholder: str
    hub_names: Mapping[str, str]
    hub_config: Callable[[dict[str, Any]], dict[str, Any]]
    inputs: Callable[[list[Patches]], dict[str, Tensor]]
    layout: Layout
    processor: Any
    image_processor: Any
    processor_settings: Mapping[str, Any]
    token_names: Mapping[str, str]
    side: int = 0

    @torch.no_grad()
    def stock_tokens(self, stock: Any, patches: list[Patches]) -> list[Tensor]:
        """What the stock model makes of each picture, [tokens, hidden]."""
        features = stock.model.get_image_features(**self.inputs(patches)).pooler_output
        if self.name == "internvl":
            tiles = features.split([p.grid.frames for p in patches])
            return [own.flatten(0, 1) for own in tiles]
        return list(features)

    def stock_inputs(self, ids: Tensor, patches: list[Patches]) -> dict[str, Tensor]:
        """What the stock model's `generate` takes. ids: [length]"""
        inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        if self.name == "qwen2_vl":
            inputs["mm_token_type_ids"] = (ids == token_id(self.placeholder)).int()[None]
        return {**inputs, **(self.inputs(patches) if patches else {})}


def _same(config: dict[str, Any]) -> dict[str, Any]:
    return config


_NORMALIZED = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "rescale_factor": 1 / 255,
    "resample": 3,
}


def _qwen2_vl_config(text: dict[str, Any], tied: bool) -> Qwen2VLConfig:
    rope = {**text["rope_parameters"], "mrope_section": [2, 3, 3]}
    text = {**text, "model_type": "qwen2_vl_text", "rope_parameters": rope}
    vision = {"depth": 4, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=tied,
    )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """As hub checkpoints of Qwen2-VL write it: the text settings at the top level."""
    whole = dict(config)
    text = whole.pop("text_config")
    text.pop("model_type")
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["rope_theta"]
    text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    whole["vision_config"]["model_type"] = "qwen2_vl"
    return {**text, **whole}


def _qwen2_vl_inputs(patches: list[Patches]) -> dict[str, Tensor]:
    return {
        "pixel_values": torch.cat([p.pixels for p in patches]),
        "image_grid_thw": torch.tensor([astuple(p.grid) for p in patches]),
    }


def _internvl_config(text: dict[str, Any], tied: bool) -> InternVLConfig:
    vision = {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": [112, 112],
        "attention_bias": True,
        "use_qk_norm": True,
    }
    return InternVLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<IMG_CONTEXT>"),
        image_seq_length=16,
        tie_word_embeddings=tied,
    )


_PINPOINTS = [
    [70, 70], [70, 140], [140, 70], [140, 140], [70, 210], [210, 70], [140, 210], [210, 140],
]  # fmt: skip


def _llava_onevision_config(text: dict[str, Any], tied: bool) -> LlavaOnevisionConfig:
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": 70,
        "patch_size": 14,
        "vision_use_head": False,
    }
    return LlavaOnevisionConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=token_id("<image>"),
        video_token_index=token_id("<video>"),
        image_grid_pinpoints=_PINPOINTS,
        vision_aspect_ratio="anyres_max_2",
        tie_word_embeddings=tied,
    )


def _llava_onevision_inputs(patches: list[Patches]) -> dict[str, Tensor]:
    cut = [p.grid.frames > 1 for p in patches]
    return {
        "pixel_values": pad_sequence([p.pixels for p in patches], batch_first=True),
        "image_sizes": torch.tensor([p.size for p in patches]),
        "batch_num_images": torch.tensor([1] * len(patches) if all(cut) else [len(patches)]),
    }


_OLDER_HUB_NAMES = {
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
}

KITS = {
    kit.name: kit
    for kit in (
        Kit(
            name="qwen2_vl",
            stock=Qwen2VLForConditionalGeneration,
            config=_qwen2_vl_config,
            preprocessing=_NORMALIZED
            | {
                "image_processor_type": "Qwen2VLImageProcessor",
                "patch_size": 14,
                "temporal_patch_size": 2,
                "merge_size": 2,
                "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 48},
            },
            template=templates.QWEN2_VL,
            placeholder="<|image_pad|>",
            hub_names={
                "model.visual.": "visual.",
                "model.language_model.": "model.",
                "lm_head.": "lm_head.",
            },
            hub_config=_flat,
            inputs=_qwen2_vl_inputs,
            layout=qwen2_vl.LAYOUT,
            processor=Qwen2VLProcessor,
            image_processor=Qwen2VLImageProcessorPil,
            processor_settings={},
            token_names={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
        ),
        Kit(
            name="internvl",
            stock=InternVLForConditionalGeneration,
            config=_internvl_config,
            preprocessing=_NORMALIZED
            | {
                "image_processor_type": "GotOcr2ImageProcessor",
                "size": {"height": 112, "width": 112},
                "crop_to_patches": False,
                "min_patches": 1,
                "max_patches": 6,
            },
            template=templates.INTERNVL,
            placeholder="<IMG_CONTEXT>",
            hub_names=_OLDER_HUB_NAMES,
            hub_config=_same,
            inputs=lambda patches: {"pixel_values": torch.cat([p.pixels for p in patches])},
            layout=internvl.LAYOUT,
            processor=InternVLProcessor,
            image_processor=GotOcr2ImageProcessorPil,
            processor_settings={"image_seq_length": 16},
            token_names={
                "start_image_token": "<img>",
                "end_image_token": "</img>",
                "context_image_token": "<IMG_CONTEXT>",
                "video_token": "<video>",
            },
            side=4,
        ),
        Kit(
            name="llava_onevision",
            stock=LlavaOnevisionForConditionalGeneration,
            config=_llava_onevision_config,
            preprocessing=_NORMALIZED
            | {
                "image_processor_type": "LlavaOnevisionImageProcessor",
                "size": {"height": 70, "width": 70},
                "image_grid_pinpoints": _PINPOINTS,
                "do_pad": True,
            },
            template=templates.LLAVA_ONEVISION,
            placeholder="<image>",
            hub_names={
                **_OLDER_HUB_NAMES,
                "model.image_newline": "image_newline",
                "model.vision_tower.": "vision_tower.vision_model.",
            },
            hub_config=_same,
            inputs=_llava_onevision_inputs,
            layout=llava_onevision.LAYOUT,
            processor=LlavaOnevisionProcessor,
            image_processor=LlavaOnevisionImageProcessorPil,
            processor_settings={
                "num_image_tokens": 25,
                "vision_feature_select_strategy": "full",
                "vision_aspect_ratio": "anyres_max_2",
            },
            token_names={},
            side=5,
        ),
    )
}

ALL_FAMILIES = pytest.mark.parametrize("family", KITS, indirect=True, scope="session")
