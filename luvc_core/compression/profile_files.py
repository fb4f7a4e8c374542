"""Profile files: compressions by name, in TOML, with the fields of luvc.v1.CompressionSettings.

    [receipts.oim]
    keep_rows = 0.75

    [receipts.spu]
    score = "high_pass"

    [receipts.spu.ramp]
    start = 0.1
    end = 0.8

A stage that is not there is off; a field that is not there has its default value.
"""

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from luvc_core.compression.profiles import BUILT_IN, PROFILES, Profiles
from luvc_core.compression.settings import Compression, OimSettings, Ramp
from luvc_core.compression.settings_from_dict import settings_from_dict
from luvc_core.errors import InvalidProfiles, InvalidSettings

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def read_profiles(path: str, layer_count: int | None = None) -> Profiles:
    """Read a profile file; return its profiles and the built-in ones.

    Without a path, return the built-in ones alone. layer_count: layers of the LLM, where schedules
    have to fit them. Raises InvalidProfiles, which names the file, the field and what is allowed.
    """
    if not path:
        return BUILT_IN
    added = [_compression(path, name, fields) for name, fields in _content(path).items()]
    if not added:
        raise InvalidProfiles(path, "the file", "empty", "at least one profile, as [NAME.spu.ramp]")
    for compression in added:
        try:
            for spu in (compression.spu, compression.detailed):
                if spu is not None and layer_count is not None:
                    spu.layer_counts(layer_count, 1)
        except InvalidSettings as error:
            raise _located(path, compression.name, error) from None
    return Profiles(added)


def to_toml(compressions: Sequence[Compression], comment: str = "") -> str:
    """Write the text of a profile file. comment: lines for its head."""
    head = [f"# {line}".rstrip() for line in comment.splitlines()]
    tables = ["\n".join(table) for compression in compressions for table in _tables(compression)]
    return "\n\n".join(["\n".join(head), *tables] if head else tables) + "\n"


def check_name(name: str) -> str:
    """Say what is wrong with a name for a new profile; empty where nothing is."""
    if name in PROFILES:
        return "the name of a built-in profile"
    return "" if _NAME.fullmatch(name) else "no name: letters, digits, - and _, at most 64"


def _content(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidProfiles(path, "the file", error.strerror or str(error)) from None
    except ValueError as error:
        raise InvalidProfiles(path, "the file", str(error), "TOML in UTF-8") from None


def _compression(path: str, name: str, fields: object) -> Compression:
    if problem := check_name(name):
        allowed = f"names other than {', '.join(PROFILES)}"
        raise InvalidProfiles(path, name, problem, allowed)
    if not isinstance(fields, Mapping):
        raise InvalidProfiles(path, name, f"got {fields!r}", f"tables [{name}.oim], [{name}.spu]")
    try:
        return settings_from_dict(name, fields, "")
    except InvalidSettings as error:
        raise _located(path, name, error) from None


def _located(path: str, name: str, error: InvalidSettings) -> InvalidProfiles:
    return InvalidProfiles(path, f"{name}.{error.field.lstrip('.')}", error.problem, error.allowed)


def _tables(compression: Compression) -> Iterator[list[str]]:
    name, oim, spu = compression.name, compression.oim, compression.spu
    if compression == Compression(name):
        yield [f"[{name}]"]
    if oim != OimSettings():
        yield [f"[{name}.oim]", *_lines(dataclasses.asdict(oim))]
    for stage, settings in (("spu", spu), ("detailed", compression.detailed)):
        if settings is not None:
            fields = dataclasses.asdict(settings)
            schedule = fields.pop("schedule")
            yield [f"[{name}.{stage}]", *_lines(fields)]
            kind = "ramp" if isinstance(settings.schedule, Ramp) else "keep"
            yield [f"[{name}.{stage}.{kind}]", *_lines(schedule)]


def _lines(fields: Mapping[str, Any]) -> list[str]:
    # TOML and JSON write text, true and false, finite numbers and lists of them in the same way.
    return [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
