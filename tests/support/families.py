"""The families as the tests see them: a small model of each, and how stock code is asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from torch import Tensor
from transformers import (
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaForConditionalGeneration,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from luvc_core.models.base import Patches
from luvc_core.models.checkpoint.layout import Layout
from luvc_core.models.families import internvl, llava, llava_onevision, qwen2_5_vl, qwen2_vl
from tests.support import configs, templates

# From 5.18 on, stock models do what ours do; before, some of it was done elsewhere, or wrong.
BEFORE_5_18 = Version(transformers.__version__) < Version("5.18")


@dataclass(frozen=True)
class Kit:
    """One family.

    stock: the whole model. config: from text settings and whether the head is tied. hub_names: from
    prefixes of transformers 5 to those of the hub, the first that fits applies. hub_config: the
    same for the settings. inputs: what the stock model's `get_image_features` takes for pictures.
    processor: the stock one for text and pictures together, its picture half and its settings.
    token_names: attributes that it expects of its tokenizer. side: of a tile, in visual tokens; 0
    where the picture is not cut. mrope: positions have three axes, in a text model of its own.
    begin: what the tokenizer, not the template, begins every text with. video_preprocessing: of the
    video processor, None where the family takes no clips. video_inputs: as inputs, for clips; None
    where stock code takes both as one.
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
    mrope: bool = False
    begin: str = ""
    video_preprocessing: Mapping[str, Any] | None = None
    video_inputs: Callable[[list[Patches]], dict[str, Tensor]] | None = None

    @torch.no_grad()
    def stock_tokens(self, stock: Any, patches: list[Patches]) -> list[Tensor]:
        """What the stock model makes of each picture, [tokens, hidden]."""
        features = stock.model.get_image_features(**self.inputs(patches)).pooler_output
        if self.name == "internvl":
            tiles = features.split([p.grid.frames for p in patches])
            return [own.flatten(0, 1) for own in tiles]
        return list(features)

    def stock_inputs(self, stock: Any, ids: Tensor, patches: list[Patches]) -> dict[str, Tensor]:
        """What `stock.generate` takes. ids: [length]"""
        inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        if self.mrope:
            of_images = (ids == stock.config.image_token_id).int()
            of_videos = (ids == stock.config.video_token_id).int()
            inputs["mm_token_type_ids"] = (of_images + 2 * of_videos)[None]
        return inputs | self.media_inputs(patches)

    def media_inputs(self, patches: list[Patches]) -> dict[str, Tensor]:
        """patches: of pictures and clips, in the order of the prompt."""
        if self.video_inputs is None:
            return self.inputs(patches) if patches else {}
        videos, images = [p for p in patches if p.video], [p for p in patches if not p.video]
        inputs = self.inputs(images) if images else {}
        return inputs | (self.video_inputs(videos) if videos else {})

    @torch.no_grad()
    def stock_video_tokens(self, stock: Any, patches: list[Patches]) -> list[Tensor]:
        """As stock_tokens, for clips."""
        if self.video_inputs is None:
            return self.stock_tokens(stock, patches)
        # The pixels by position, as their name was another one before 5.18.
        (_, pixels), *others = self.video_inputs(patches).items()
        found = list(stock.model.get_video_features(pixels, **dict(others)).pooler_output)
        if BEFORE_5_18 and self.name == "llava_onevision":
            # The newline after a clip was added where these features are used.
            return [torch.cat((own, stock.model.image_newline[None])) for own in found]
        return found


# What the two families of Qwen have in common.
qwen_kit = partial(
    Kit,
    preprocessing=configs.NORMALIZED
    | {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 48},
    },
    video_preprocessing=configs.QWEN2_VL_VIDEOS,
    template=templates.QWEN2_VL,
    placeholder="<|image_pad|>",
    hub_names={
        "model.visual.": "visual.",
        "model.language_model.": "model.",
        "lm_head.": "lm_head.",
    },
    hub_config=configs.flat,
    inputs=configs.qwen2_vl_inputs,
    image_processor=Qwen2VLImageProcessorPil,
    processor_settings={},
    token_names={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    mrope=True,
)

KITS = {
    kit.name: kit
    for kit in (
        qwen_kit(
            name="qwen2_vl",
            stock=Qwen2VLForConditionalGeneration,
            config=configs.qwen2_vl_config,
            video_inputs=configs.qwen2_vl_video_inputs,
            layout=qwen2_vl.LAYOUT,
            processor=Qwen2VLProcessor,
        ),
        qwen_kit(
            name="qwen2_5_vl",
            stock=Qwen2_5_VLForConditionalGeneration,
            config=configs.qwen2_5_vl_config,
            video_inputs=configs.qwen2_5_vl_video_inputs,
            layout=qwen2_5_vl.LAYOUT,
            processor=Qwen2_5_VLProcessor,
        ),
        Kit(
            name="internvl",
            stock=InternVLForConditionalGeneration,
            config=configs.internvl_config,
            preprocessing=configs.NORMALIZED
            | {
                "image_processor_type": "GotOcr2ImageProcessor",
                "size": {"height": 112, "width": 112},
                "crop_to_patches": False,
                "min_patches": 1,
                "max_patches": 6,
            },
            video_preprocessing=configs.videos_of_tiles(112),
            template=templates.INTERNVL,
            placeholder="<IMG_CONTEXT>",
            hub_names=configs.OLDER_HUB_NAMES,
            hub_config=configs.same,
            inputs=configs.tiles,
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
            name="llava",
            stock=LlavaForConditionalGeneration,
            config=configs.llava_config,
            preprocessing=configs.NORMALIZED
            | {
                "image_processor_type": "CLIPImageProcessor",
                "size": {"shortest_edge": 84},
                "crop_size": {"height": 84, "width": 84},
                "do_center_crop": True,
            },
            template=templates.LLAVA,
            placeholder="<image>",
            hub_names={
                **configs.OLDER_HUB_NAMES,
                "model.vision_tower.": "vision_tower.vision_model.",
            },
            hub_config=configs.same,
            inputs=configs.tiles,
            layout=llava.LAYOUT,
            processor=LlavaProcessor,
            image_processor=LlavaImageProcessorPil,
            processor_settings={
                "patch_size": 14,
                "vision_feature_select_strategy": "default",
                "num_additional_image_tokens": 1,
            },
            token_names={},
            begin="<s>",
        ),
        Kit(
            name="llava_onevision",
            stock=LlavaOnevisionForConditionalGeneration,
            config=configs.llava_onevision_config,
            preprocessing=configs.NORMALIZED
            | {
                "image_processor_type": "LlavaOnevisionImageProcessor",
                "size": {"height": 70, "width": 70},
                "image_grid_pinpoints": configs.PINPOINTS,
                "do_pad": True,
            },
            video_preprocessing=configs.videos_of_tiles(70),
            template=templates.LLAVA_ONEVISION,
            placeholder="<image>",
            hub_names={
                **configs.OLDER_HUB_NAMES,
                "model.image_newline": "image_newline",
                "model.vision_tower.": "vision_tower.vision_model.",
            },
            hub_config=configs.same,
            inputs=configs.llava_onevision_inputs,
            video_inputs=configs.llava_onevision_video_inputs,
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
WITH_VIDEOS = [name for name, kit in KITS.items() if kit.video_preprocessing]
VIDEO_FAMILIES = pytest.mark.parametrize("family", WITH_VIDEOS, indirect=True, scope="session")
