"""Accuracy of a checkpoint folder, by kind of question, through stock transformers.

`python -m benchmarks.train.evaluate FOLDER --n 500 --json out.json`
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from transformers import Qwen2Tokenizer, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

from ..tasks import KINDS, questions


class StockModel:
    """Stock classes around a checkpoint folder, in float32; answers by greedy generation."""

    def __init__(self, folder: Path) -> None:
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.tokenizer = Qwen2Tokenizer.from_pretrained(folder, padding_side="left")
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(folder)

    @torch.no_grad()
    def answer(self, images: list[Image.Image], asked: list[str]) -> list[str]:
        """One short answer to each picture's question."""
        pixels = self.processor(images, return_tensors="pt")
        texts = []
        for question, (_, rows, cols) in zip(asked, pixels["image_grid_thw"].tolist(), strict=True):
            content = [{"type": "image"}, {"type": "text", "text": question}]
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
            texts.append(text.replace("<|image_pad|>", "<|image_pad|>" * (rows * cols // 4)))
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True)
        image_tokens = inputs["input_ids"] == self.model.config.image_token_id
        out = self.model.generate(
            **inputs, **pixels, mm_token_type_ids=image_tokens.int(), max_new_tokens=16,
            do_sample=False,
        )  # fmt: skip
        fresh = out[:, inputs["input_ids"].shape[1] :]
        return [t.strip() for t in self.tokenizer.batch_decode(fresh, skip_special_tokens=True)]


def accuracy(model: StockModel, kind: str, n: int, split: str, batch: int = 10) -> float:
    """Share of exactly right answers among the first `n` questions of the kind."""
    right, stream = 0, questions(kind, n, split)
    while chunk := list(islice(stream, batch)):
        images, asked, answers = (list(part) for part in zip(*chunk, strict=True))
        said = model.answer(images, asked)
        right += sum(a == b for a, b in zip(said, answers, strict=True))
    return right / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, result = StockModel(args.folder), {}
    for kind in args.kinds:
        start = time.monotonic()
        result[kind] = accuracy(model, kind, args.n, args.split)
        seconds = time.monotonic() - start
        print(f"{kind:10s} n={args.n} accuracy={result[kind]:.1%} ({seconds:.0f} s)", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps({"n": args.n, "accuracy": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
