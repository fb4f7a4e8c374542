"""The families for tests and benchmarks: a small model of each, and how to ask stock code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

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

from benchmarks.common import chat_templates, family_configs
from luvc_core.models.base import Patches
from luvc_core.models.checkpoint.layout import Layout
from luvc_core.models.families import internvl, llava, llava_onevision, qwen2_5_vl, qwen2_vl

# From 5.18 on, stock models do what ours do; before, some of it was done elsewhere, or wrong.
BEFORE_5_18 = Version(transformers.__version__) < Version("5.18")


@dataclass(frozen=True)
class Kit:
    """One family.

    Attributes:
        stock: class of the whole model.
        config: makes the config from text settings and whether the head is tied.
        placeholder: the token in the place of an image.
        hub_names: from prefixes of transformers 5 to those of the hub; the first that fits applies.
        hub_config: makes the hub's settings from those of transformers 5.
        inputs: what the stock model's `get_image_features` takes for images.
        processor: the stock one for text and images together.
        token_names: attributes that the processor expects of its tokenizer.
        side: of a tile, in visual tokens; 0 where the image is not cut.
        mrope: whether positions have three axes, in a text model of its own.
        begin: what the tokenizer, not the template, begins every text with.
        video_preprocessing: None where the family takes no videos.
        video_inputs: what stock code takes for videos; None where it takes both as one.
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
        """Return what the stock model makes of each image, [tokens, hidden]."""
        features = stock.model.get_image_features(**self.inputs(patches)).pooler_output
        if self.name == "internvl":
            tiles = features.split([p.grid.frames for p in patches])
            return [image_tiles.flatten(0, 1) for image_tiles in tiles]
        return list(features)

    def stock_inputs(self, stock: Any, ids: Tensor, patches: list[Patches]) -> dict[str, Tensor]:
        """Return what `stock.generate` takes.

        Args:
            stock: the model.
            ids: [length], of the prompt.
            patches: of its media, in order.
        """
        inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        if self.mrope:
            of_images = (ids == stock.config.image_token_id).int()
            of_videos = (ids == stock.config.video_token_id).int()
            inputs["mm_token_type_ids"] = (of_images + 2 * of_videos)[None]
        return inputs | self.media_inputs(patches)

    def media_inputs(self, patches: list[Patches]) -> dict[str, Tensor]:
        """Return what the stock model takes for media, in the prompt's order."""
        if self.video_inputs is None:
            return self.inputs(patches) if patches else {}
        videos, images = [p for p in patches if p.video], [p for p in patches if not p.video]
        inputs = self.inputs(images) if images else {}
        return inputs | (self.video_inputs(videos) if videos else {})

    @torch.no_grad()
    def stock_video_tokens(self, stock: Any, patches: list[Patches]) -> list[Tensor]:
        """Return what the stock model makes of each video, [tokens, hidden]."""
        if self.video_inputs is None:
            return self.stock_tokens(stock, patches)
        # The pixels by position, as their name was another one before 5.18.
        (_, pixels), *others = self.video_inputs(patches).items()
        features = list(stock.model.get_video_features(pixels, **dict(others)).pooler_output)
        if BEFORE_5_18 and self.name == "llava_onevision":
            # The newline after a video was added where these features are used.
            return [torch.cat((one, stock.model.image_newline[None])) for one in features]
        return features


# What the two families of Qwen have in common.
qwen_kit = partial(
    Kit,
    preprocessing=family_configs.QWEN2_VL_IMAGES,
    video_preprocessing=family_configs.QWEN2_VL_VIDEOS,
    template=chat_templates.QWEN2_VL,
    placeholder="<|image_pad|>",
    hub_names={
        "model.visual.": "visual.",
        "model.language_model.": "model.",
        "lm_head.": "lm_head.",
    },
    hub_config=family_configs.flat,
    inputs=family_configs.qwen2_vl_inputs,
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
            config=family_configs.qwen2_vl_config,
            video_inputs=family_configs.qwen2_vl_video_inputs,
            layout=qwen2_vl.LAYOUT,
            processor=Qwen2VLProcessor,
        ),
        qwen_kit(
            name="qwen2_5_vl",
            stock=Qwen2_5_VLForConditionalGeneration,
            config=family_configs.qwen2_5_vl_config,
            video_inputs=family_configs.qwen2_5_vl_video_inputs,
            layout=qwen2_5_vl.LAYOUT,
            processor=Qwen2_5_VLProcessor,
        ),
        Kit(
            name="internvl",
            stock=InternVLForConditionalGeneration,
            config=family_configs.internvl_config,
            preprocessing=family_configs.INTERNVL_IMAGES,
            video_preprocessing=family_configs.videos_of_tiles(112),
            template=chat_templates.INTERNVL,
            placeholder="<IMG_CONTEXT>",
            hub_names=family_configs.OLDER_HUB_NAMES,
            hub_config=family_configs.unchanged,
            inputs=family_configs.tiles,
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
            config=family_configs.llava_config,
            preprocessing=family_configs.LLAVA_IMAGES,
            template=chat_templates.LLAVA,
            placeholder="<image>",
            hub_names={
                **family_configs.OLDER_HUB_NAMES,
                "model.vision_tower.": "vision_tower.vision_model.",
            },
            hub_config=family_configs.unchanged,
            inputs=family_configs.tiles,
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
            config=family_configs.llava_onevision_config,
            preprocessing=family_configs.LLAVA_ONEVISION_IMAGES,
            video_preprocessing=family_configs.videos_of_tiles(70),
            template=chat_templates.LLAVA_ONEVISION,
            placeholder="<image>",
            hub_names={
                **family_configs.OLDER_HUB_NAMES,
                "model.image_newline": "image_newline",
                "model.vision_tower.": "vision_tower.vision_model.",
            },
            hub_config=family_configs.unchanged,
            inputs=family_configs.llava_onevision_inputs,
            video_inputs=family_configs.llava_onevision_video_inputs,
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
