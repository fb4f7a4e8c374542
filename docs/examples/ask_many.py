"""Ask about many images and clips at once, and print each answer as soon as it is there.

python docs/examples/ask_many.py "what is shown?" a.png b.png clip.mp4 --at-once 8
"""

import argparse
import asyncio

from luvc import AsyncClient, LuvcError


async def ask_all(endpoint: str, question: str, files: list[str], at_once: int) -> int:
    turns = asyncio.Semaphore(at_once)
    failed = 0

    async with AsyncClient(endpoint) as client:

        async def ask(file: str) -> tuple[str, str, bool]:
            async with turns:
                try:
                    answer = await client.ask(question, file, max_tokens=32, timeout=60)
                except LuvcError as error:
                    return file, f"{error.code}: {error.message}", False
                except OSError as error:
                    return file, f"{error.strerror}", False
            frames = answer.usage.frame_count
            return file, answer.text + (f"  [{frames} frames]" if frames else ""), True

        for done in asyncio.as_completed([ask(file) for file in files]):
            file, text, answered = await done
            failed += not answered
            print(f"{file}: {text}")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--endpoint", default="localhost:50051", metavar="HOST:PORT")
    parser.add_argument("--at-once", type=int, default=8, help="default: %(default)s")
    o = parser.parse_args()
    if o.at_once < 1:
        parser.error("--at-once: at least 1")
    return asyncio.run(ask_all(o.endpoint, o.question, o.files, o.at_once))


if __name__ == "__main__":
    raise SystemExit(main())
