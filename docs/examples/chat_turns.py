"""Ask several questions about the same images, each with the conversation so far.

The first turn sends the files. Later turns name them by their SHA-256, which the client does by
itself, and the encoder uses the visual tokens that it kept.

    python docs/examples/chat_turns.py before.png after.png "what differs?" "are you sure?"
"""

import argparse
from pathlib import Path

from luvc import Client, Message


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--endpoint", default="localhost:50051", metavar="HOST:PORT")
    o = parser.parse_args()
    # A `str` part is text; a `Path` part is the file behind it.
    turns = [Message("user", ["first:", o.first, "second:", o.second, o.questions[0]])]
    with Client(o.endpoint) as client:
        for following in [*o.questions[1:], None]:
            answer = client.chat(turns, max_tokens=32, timeout=30).answer
            print(f"{answer.text}  [{answer.usage.reused_media_count} of 2 images known before]")
            if following is not None:
                turns += [Message("assistant", [answer.text]), Message("user", [following])]
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
