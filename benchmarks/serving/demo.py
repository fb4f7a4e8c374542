"""Start both services on this machine, ask questions about held-out images, and report.

`make demo`: two questions each about several kinds of images, videos and pairs of images. Exits 0
only if every answer came and at least eight of nine are right.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luvc import Answer, Client, LuvcError
from luvc.local_stack.ending import end_in_order
from luvc.local_stack.free_port import free_port
from luvc.local_stack.launcher import Stack, StartFailed

from benchmarks.tasks.question_files import Asked, file_questions

KINDS = (
    "presence", "colour", "count", "relation", "chart", "document", "movement", "change", "more",
)  # fmt: skip
MODELS = {
    "qwen2-vl": "luvc-tiny-qwen2vl",
    "internvl": "luvc-tiny-internvl",
    "llava-ov": "luvc-tiny-llava-ov",
}
OF_EACH_KIND = 2
RIGHT_AT_LEAST = 8 / 9
ROUNDS = 3


@dataclass(frozen=True)
class Answered:
    """A question, its true answer, and what the model said with compression on and off.

    Attributes:
        first_text_ms: medians over the rounds, by profile.
    """

    question: str
    truth: str
    answer: Answer
    first_text_ms: dict[str, float]

    @property
    def is_right(self) -> bool:
        return self.answer.text.strip().lower() == self.truth.lower()


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--family", default="qwen2-vl", choices=MODELS, help="default: %(default)s")
    parser.add_argument("--profile", default="lossless", help="default: %(default)s")
    options = parser.parse_args()
    model = MODELS[options.family]
    images = Path(tempfile.mkdtemp(prefix="luvc-demo-"))
    stack = Stack(model, port=free_port(), decoder_port=free_port())
    print(f"Starting the encoder service and Ray with the decoder service ({model}) ...")
    started = time.monotonic()
    try:
        with stack.running(start_timeout=180), Client(stack.endpoint) as client:
            print(f"Ready after {time.monotonic() - started:.0f} s. Files: {images}\n")
            asked = list(_ask_all(client, options.profile, images))
    except (StartFailed, LuvcError) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    _report(asked, options.profile)
    return 0 if sum(a.is_right for a in asked) >= RIGHT_AT_LEAST * len(asked) else 1


def _ask_all(client: Client, profile: str, folder: Path) -> Iterator[Answered]:
    for kind in KINDS:
        for number, about in enumerate(file_questions(kind, OF_EACH_KIND), 1):
            letters = "ab" if len(about.files) > 1 else ("",)
            paths = [folder / f"{kind}-{number}{letter}.{about.suffix}" for letter in letters]
            for path, data in zip(paths, about.files, strict=True):
                path.write_bytes(data)
            answered = _ask(client, profile, about, paths)
            verdict = "right" if answered.is_right else f"truth: {about.answer}"
            print(f"{paths[0].name:16} {about.question}")
            print(f"{'':16} {answered.answer.text}  ({verdict})", flush=True)
            yield answered


def _ask(client: Client, profile: str, about: Asked, paths: list[Path]) -> Answered:
    client.ask(about.question, *paths, profile=profile)  # warm up
    answers: dict[str, list[Answer]] = {profile: [], "off": []}
    for _ in range(ROUNDS):
        for name, collected in answers.items():
            collected.append(client.ask(about.question, *paths, profile=name))
    medians = {
        name: statistics.median(
            a.usage.times.time_to_first_token.ToNanoseconds() / 1e6 for a in collected
        )
        for name, collected in answers.items()
    }
    return Answered(about.question, about.answer, answers[profile][0], medians)


def _report(asked: list[Answered], profile: str) -> None:
    header = ("answer", "truth", "tokens: source", "sent", "LLM average", "last layer",
              "bytes saved", f"first text, ms: {profile}", "off")  # fmt: skip
    rows = [header]
    for a in asked:
        usage = a.answer.usage
        saved = 1 - usage.wire_byte_count / usage.uncompressed_byte_count
        rows.append(
            (
                a.answer.text.strip(),
                a.truth,
                str(usage.source_visual_token_count),
                str(usage.layer_visual_token_counts[0]),
                f"{usage.layer_averaged_visual_token_count:.0f}",
                str(usage.layer_visual_token_counts[-1]),
                f"{saved:.0%}",
                f"{a.first_text_ms[profile]:.0f}",
                f"{a.first_text_ms['off']:.0f}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    right = sum(a.is_right for a in asked)
    print(f"\n{right} of {len(asked)} right with profile {profile}.")


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
