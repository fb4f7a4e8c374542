"""Print an answer while it is generated; stop reading after a number of characters.

python docs/examples/stream_text.py receipt.png "what is the total?" --characters 200
"""

import argparse

from luvc import Client


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("question")
    parser.add_argument("--endpoint", default="localhost:50051", metavar="HOST:PORT")
    parser.add_argument("--characters", type=int, default=1000, help="default: %(default)s")
    o = parser.parse_args()
    with Client(o.endpoint) as client:
        stream = client.stream(o.question, o.file, max_tokens=64, timeout=30)
        shown = 0
        for text in stream:
            print(text, end="", flush=True)
            shown += len(text)
            if shown >= o.characters:
                # Both services stop working on the answer at once.
                stream.cancel()
                print(" ...")
                return 0
        print()
        times = stream.answer.usage.times
        print(f"first text after {times.time_to_first_token.ToMilliseconds()} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
