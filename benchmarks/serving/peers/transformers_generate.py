"""Stock transformers as a system under test: `generate` on batches of as many as ask at once."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from benchmarks.serving.peers.peer_worker import Task, answer_rounds


def start(task: Task) -> Callable[[], Sequence[int]]:
    """Load the model; return what answers all questions and tells the tokens of each answer."""
    dtype = getattr(torch, task.dtype)
    model = Qwen2VLForConditionalGeneration.from_pretrained(task.model, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(task.model, padding_side="left")
    processor = Qwen2VLImageProcessorPil.from_pretrained(task.model)
    pad, side = model.config.image_token_id, processor.merge_size

    def prompt(question: str) -> str:
        parts = [{"type": "image"}, {"type": "text", "text": question}]
        message = {"role": "user", "content": parts}
        text: str = tokenizer.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True
        )
        return text

    prompts = [prompt(question) for question in task.questions]
    mark = tokenizer.convert_ids_to_tokens(pad)

    @torch.inference_mode()
    def answer(batch: slice) -> int:
        images = [Image.open(file).convert("RGB") for file in task.files[batch]]
        seen = processor.preprocess(images, return_tensors="pt")
        counts = [int(grid.prod()) // side**2 for grid in seen["image_grid_thw"]]
        texts = [
            text.replace(mark, mark * count)
            for text, count in zip(prompts[batch], counts, strict=True)
        ]
        inputs = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        found = model.generate(
            **inputs,
            pixel_values=seen["pixel_values"],
            image_grid_thw=seen["image_grid_thw"],
            mm_token_type_ids=(inputs["input_ids"] == pad).int(),
            max_new_tokens=task.new,
            min_new_tokens=task.new,
            do_sample=False,
        )
        return int(found.shape[1] - inputs["input_ids"].shape[1])

    def answer_all() -> list[int]:
        lengths = []
        for first in range(0, len(prompts), task.concurrency):
            batch = slice(first, first + task.concurrency)
            lengths += [answer(batch)] * len(prompts[batch])
        return lengths

    return answer_all


if __name__ == "__main__":
    answer_rounds(start)
