"""Logs of both services: text for people, or one JSON object a line for machines."""

import json
import logging
import uuid
from typing import Literal

LogFormat = Literal["text", "json"]
LOG_FORMATS = ("text", "json")


class JsonLines(logging.Formatter):
    """time in seconds since 1970, level, logger, message; request_id where a record has one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            fields["request_id"] = request_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def set_up(level: str, form: str, text: str) -> None:
    """Log to stderr, once a process. text: the line's form where `form` is text."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(text))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def of_request(request_id: str) -> dict[str, str]:
    """The `extra` of a record about a request."""
    return {"request_id": request_id}


def request_id_of(given: str) -> str:
    """The id that a caller gave, without what could pass for another line of the log, and at most
    100 characters of it; a new one where nothing is left."""
    return "".join(c for c in given[:100] if c.isprintable()) or uuid.uuid4().hex
