"""Ask one question about one or more images, and print the answer and what it cost.

python docs/examples/ask_image.py photo.png "what is this?"
"""

import argparse

from luvc import Client, LuvcError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("question")
    parser.add_argument("--endpoint", default="localhost:50051", metavar="HOST:PORT")
    parser.add_argument("--profile", default="lossless")
    o = parser.parse_args()
    with Client(o.endpoint) as client:
        try:
            answer = client.ask(o.question, *o.files, profile=o.profile, max_tokens=32, timeout=30)
        except LuvcError as error:
            print(f"{error.code}: {error.message}")
            return 1
        except OSError as error:
            print(f"{error.filename}: {error.strerror}")
            return 2
    usage = answer.usage
    print(answer.text)
    print(
        f"{usage.source_visual_token_count} visual tokens in the images, "
        f"{usage.layer_averaged_visual_token_count:.0f} in the average layer"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
