"""vLLM's CPU build as a system under test; runs in `.venv-peers`.

It runs offline, so without HTTP, with as many requests at work as ask at once. It keeps nothing
from earlier requests, like ours: every round brings the same images.
"""

import os
from collections.abc import Callable, Sequence

# Nothing is fetched, and nothing told.
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
# All cores for the model: by default it leaves one to its other processes.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{(os.cpu_count() or 1) - 1}")
os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")

from PIL import Image
from vllm import LLM, SamplingParams

from benchmarks.serving.peers.peer_worker import Task, answer_rounds


def start(task: Task) -> Callable[[], Sequence[int]]:
    """Load the model; return what answers all questions and tells the tokens of each answer."""
    llm = LLM(
        task.model,
        dtype=task.dtype,
        max_model_len=1024,
        max_num_seqs=task.concurrency,
        enforce_eager=True,
        enable_prefix_caching=False,
        mm_processor_cache_gb=0,
        limit_mm_per_prompt={"image": 1, "video": 0},
        disable_log_stats=True,
    )
    sampling = SamplingParams(temperature=0, max_tokens=task.new, ignore_eos=True, detokenize=False)
    tokenizer = llm.get_tokenizer()

    def prompt(question: str) -> str:
        parts = [{"type": "image"}, {"type": "text", "text": question}]
        return tokenizer.apply_chat_template(
            [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
        )

    prompts = [prompt(question) for question in task.questions]

    def answer_all() -> list[int]:
        # Opened anew each round: decoding is part of the work.
        asked = [
            {"prompt": text, "multi_modal_data": {"image": Image.open(file).convert("RGB")}}
            for text, file in zip(prompts, task.files, strict=True)
        ]
        found = llm.generate(asked, sampling, use_tqdm=False)
        return [len(one.outputs[0].token_ids) for one in found]

    return answer_all


if __name__ == "__main__":
    answer_rounds(start)
