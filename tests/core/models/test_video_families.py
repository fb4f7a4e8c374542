"""Clips in every family, in two halves, against the whole model of transformers."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from luvc_core.chat import Message, SamplingParams
from luvc_core.engine.prefill import prefill
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.errors import InvalidInput
from luvc_core.media.video_request import Video
from luvc_core.models.base import LanguageHalf, Patches, VisionHalf
from luvc_core.models.registry import load_language
from luvc_core.visual_tokens.vision_tokens import VideoFrames, VisionTokens
from tests.core.media.test_frame_sampling import stock_function
from tests.core.models.test_families import OFF, patches_of, run
from tests.support.checkpoints import ask, noise_image
from tests.support.families import VIDEO_FAMILIES, Kit

pytestmark = [pytest.mark.transformers, VIDEO_FAMILIES]

CONVERSATIONS = ["one clip", "among pictures", "two clips", "several turns"]


def noise_video(count: int = 4, size: tuple[int, int] = (112, 112), seed: int = 0) -> Video:
    frames = tuple(noise_image(*size, seed=100 * seed + i) for i in range(count))
    return Video(frames, tuple(i / 2 for i in range(count)), 10 * count, count / 2, 20.0)


def videos_of(vision: VisionHalf, *sizes: tuple[int, int]) -> list[Patches]:
    return [vision.preprocess_video(noise_video(4, size, i)) for i, size in enumerate(sizes)]


def conversation(
    kind: str, vision: VisionHalf
) -> tuple[tuple[Message[VisionTokens], ...], list[Patches]]:
    """Messages, and the patches of their media in the order of the prompt."""
    one, other = videos_of(vision, (112, 112), (84, 140))
    if kind == "one clip":
        (a,) = vision.encode([one], OFF)
        return ask(a, "What moves?"), [one]
    if kind == "among pictures":
        first, second = patches_of(vision, (112, 112), (60, 200), alone=False)
        a, b, c = vision.encode([first, other, second], OFF)
        # One template shows the pictures of a message first.
        return (*ask("Now ", a, " is not ", b, "?"), Message("assistant", ("No.",)),
                *ask("And ", c, "?")), [first, other, second]  # fmt: skip
    a, b = vision.encode([one, other], OFF)
    if kind == "two clips":
        return ask("Compare ", a, b, " well."), [one, other]
    answer = Message[VisionTokens]("assistant", ("It falls.",))
    return (*ask(a, "What?"), answer, *ask("Sure?"), answer, *ask("And ", b, "?")), [one, other]


def test_pixels_of_frames_are_those_of_images(vision: VisionHalf, family: Kit) -> None:
    video = noise_video(3)
    patches = vision.preprocess_video(video)
    assert patches.video == VideoFrames(3, 0.5)
    images = [vision.preprocess(frame, alone=False).pixels for frame in video.frames]
    if not family.mrope:
        assert torch.equal(patches.pixels, torch.cat(images))
        return
    # A size that needs no resizing; the stock function repeats the last frame for the fourth.
    video = noise_video(3, (84, 112))
    patches = vision.preprocess_video(video)
    frames = np.stack([np.asarray(frame) for frame in video.frames]).transpose(0, 3, 1, 2) / 255
    mean, std = (np.reshape(family.video_preprocessing[name], (3, 1, 1))
                 for name in ("image_mean", "image_std"))  # fmt: skip
    patchify = stock_function("qwen2_vl.video_processing_qwen2_vl", "patchify")
    expected, *grid = patchify(None, torch.from_numpy((frames - mean) / std)[None], 14, 2, 2)
    assert dataclasses.astuple(patches.grid) == tuple(grid) == (2, 8, 6)
    torch.testing.assert_close(patches.pixels, expected[0].float())


def test_large_frames_share_the_stock_budget(vision: VisionHalf, family: Kit) -> None:
    sides = vision.preprocess_video(noise_video(4, (640, 360))).grid
    if not family.mrope:
        assert sides.rows == sides.columns
        return
    smart_resize = stock_function("qwen2_vl.video_processing_qwen2_vl", "smart_resize")
    size = family.video_preprocessing["size"]
    height, width = smart_resize(360, 640, 28, size["shortest_edge"], size["longest_edge"])
    assert (14 * sides.rows, 14 * sides.columns) == (height, width)


def test_tokens_equal_stock(vision: VisionHalf, stock: Any, family: Kit) -> None:
    patches = videos_of(vision, (112, 112), (84, 140), (112, 112))
    expected = family.stock_video_tokens(stock, patches)
    for tokens, stock_tokens in zip(vision.encode(patches, OFF), expected, strict=True):
        torch.testing.assert_close(tokens.embeddings, stock_tokens, atol=1e-5, rtol=1e-5)
        assert tokens.video == VideoFrames(4, 0.5)
        assert tokens.token_count == tokens.source_token_count


@pytest.mark.parametrize("kind", CONVERSATIONS)
@torch.no_grad()
def test_logits_equal_stock(
    kind: str, vision: VisionHalf, language: LanguageHalf, stock: Any, family: Kit
) -> None:
    messages, patches = conversation(kind, vision)
    prompt = language.tokenize(messages)
    if hasattr(stock.model, "rope_deltas"):
        stock.model.rope_deltas = None
    expected = stock(**family.stock_inputs(stock, prompt.ids, patches)).logits[0, -1]
    logits, _ = prefill(language, prompt, None, lambda: None)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_greedy_answers_equal_stock(
    kind: str, vision: VisionHalf, language: LanguageHalf, stock: Any, family: Kit
) -> None:
    messages, patches = conversation(kind, vision)
    generation = RequestProcessor(language).start(Request(messages, SamplingParams(max_tokens=16)))
    run(generation)
    inputs = family.stock_inputs(stock, language.tokenize(messages).ids, patches)
    whole = stock.generate(**inputs, max_new_tokens=16, do_sample=False)
    answer = whole[0, inputs["input_ids"].shape[1] :].tolist()
    assert list(generation.tokens) == [t for t in answer if t not in language.stop_ids]
    assert len(set(answer)) > 4, "the answer is too dull to prove anything"


def stock_text(family: Kit, tokenizer: Any, patches: Patches) -> str:
    """Return what the stock processor puts in the place of a video."""
    like = SimpleNamespace(
        video_token=family.token_names.get("video_token", "<video>"),
        image_token=family.placeholder,
        start_image_token="<img>",
        end_image_token="</img>",
        image_seq_length=16,
        num_image_tokens=25,
        video_processor=SimpleNamespace(merge_size=2),
    )
    grid = torch.tensor([dataclasses.astuple(patches.grid)])
    inputs = {"pixel_values_videos": [patches.pixels], "video_grid_thw": grid}
    text: str = family.processor.replace_video_token(like, inputs, 0)
    return text


def test_ids_equal_those_of_the_stock_processor(
    vision: VisionHalf, language: LanguageHalf, checkpoint: Path, family: Kit
) -> None:
    messages, patches = conversation("two clips", vision)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "video"}
               for p in messages[0].parts]  # fmt: skip
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    mark = family.token_names.get("video_token", "<video>")
    before, between, after = text.split(mark)
    first, second = (stock_text(family, tokenizer, p) for p in patches)
    expected = tokenizer(before + first + between + second + after).input_ids
    assert language.tokenize(messages).ids.tolist() == expected


def test_positions_equal_stock(
    vision: VisionHalf, language: LanguageHalf, stock: Any, family: Kit
) -> None:
    for kind in CONVERSATIONS:
        messages, patches = conversation(kind, vision)
        prompt = language.tokenize(messages)
        expected: Tensor = torch.arange(prompt.length).float().unsqueeze(1)
        following = prompt.length
        if family.mrope:
            inputs = family.stock_inputs(stock, prompt.ids, patches)
            positions, delta = stock.model.get_rope_index(**inputs)
            expected, following = positions[:, 0].T.float(), prompt.length + delta.item()
        assert torch.equal(prompt.positions, expected)
        assert prompt.next_position == following


def test_a_template_without_videos_refuses_them_and_nothing_else(
    vision: VisionHalf, checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).symlink_to(path)
    template = folder / "chat_template.jinja"
    text = template.read_text().replace("video", "film")
    template.unlink()
    template.write_text(text.replace("<film>", "").replace("<|film_pad|>", ""))
    language = load_language(str(folder), "cpu", "float32")
    (video,) = vision.encode(videos_of(vision, (112, 112)), OFF)
    (image,) = vision.encode(patches_of(vision, (112, 112)), OFF)
    assert language.tokenize(ask(image, "?")).length
    with pytest.raises(InvalidInput, match=r"parts\[0\]\.media: a clip, which .*: pictures"):
        language.tokenize(ask(video, "?"))
