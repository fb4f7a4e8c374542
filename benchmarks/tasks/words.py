"""Every word that the renderers print, ask about, or answer with.

The tokenizer of the embedded checkpoint is built from these lists, so that each word is one token.
"""

from __future__ import annotations

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 40),
    "green": (44, 150, 52),
    "blue": (38, 72, 208),
    "yellow": (240, 214, 30),
    "orange": (247, 138, 20),
    "purple": (130, 44, 170),
    "cyan": (30, 196, 214),
    "pink": (250, 130, 190),
}

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart", "ring")
PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
    "diamond": "diamonds",
    "heart": "hearts",
    "ring": "rings",
}

CATEGORY_GROUPS: tuple[tuple[str, ...], ...] = (
    ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    ("Jan", "Feb", "Mar", "Apr", "Jun", "Jul"),
    ("Rome", "Oslo", "Lima", "Cairo", "Paris", "Delhi"),
    ("pear", "plum", "kiwi", "fig", "lime", "grape"),
)
CATEGORIES = tuple(word for group in CATEGORY_GROUPS for word in group)
CHART_TITLES = ("Sales", "Visits", "Orders", "Rain", "Points", "Stock")

NUMBER_KEYS = ("Total", "Table", "Seat", "Tax", "Price", "Age", "Number", "Room", "Items", "Bus")
CODE_KEYS = ("Code", "Flight", "Gate", "Key")
NAME_KEYS = ("Name", "Guest", "Clerk")
CITY_KEYS = ("City", "From")
KEYS = NUMBER_KEYS + CODE_KEYS + NAME_KEYS + CITY_KEYS
NAMES = (
    "Anna", "Ben", "Carl", "Dora", "Emma", "Finn", "Greta", "Hugo",
    "Ida", "Jack", "Kira", "Leo", "Mia", "Noah", "Olga", "Paul",
)  # fmt: skip
CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Paris", "Delhi", "Bern", "Tokyo")
DOCUMENT_TITLES = ("Invoice", "Receipt", "Ticket", "Badge", "Form", "Pass")

CODE_LETTERS = "ABCEFHKLMPRTXY"
DIGITS = "0123456789"

ANSWER_WORDS = ("yes", "no", "left", "right", "above", "below")
QUESTION_WORDS = (
    "Is", "Are", "there", "a", "an", "in", "the", "picture", "image", "any", "What", "color",
    "colour", "shape", "is", "are", "How", "many", "object", "objects", "to", "of", "or", "bar",
    "bars", "value", "for", "Which", "category", "has", "largest", "smallest", "chart", "does",
    "show", "document", "kind", "this", "see", "you", "Do", "can", "on", "written", "next", "at",
    "Does", "have", "say",
)  # fmt: skip
SPARE_WORDS = (
    "moves", "moving", "before", "after", "first", "second", "third", "last", "more", "fewer",
    "less", "differs", "different", "same", "pictures", "images", "up", "down", "changes",
    "change", "appears", "gone", "new", "video", "frame", "frames", "between", "and", "both",
    "which", "what", "where", "how", "when", "then", "direction", "faster", "slower", "stays",
    "still", "one", "two", "three", "page", "read", "text", "word", "list", "count", "describe",
)  # fmt: skip


def all_words() -> list[str]:
    """Return every word in the forms it is printed or asked in, once, in a fixed order."""
    printed = [
        *COLORS, *SHAPES, *PLURALS.values(), *CATEGORIES, *CHART_TITLES, *KEYS, *NAMES, *CITIES,
        *DOCUMENT_TITLES,
    ]  # fmt: skip
    lowered = [word.lower() for word in (*CHART_TITLES, *KEYS, *DOCUMENT_TITLES)]
    chat = ["user", "assistant", "system"]
    words = [*printed, *lowered, *ANSWER_WORDS, *QUESTION_WORDS, *SPARE_WORDS, *chat]
    return list(dict.fromkeys(words))
