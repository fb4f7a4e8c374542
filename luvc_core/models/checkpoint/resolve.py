"""Find the folder of a checkpoint by its name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

import luvc_core.checkpoints
from luvc_core.errors import CheckpointError

# Weights, settings, tokenizer and chat template; no code.
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "merges.txt"]


@dataclass(frozen=True)
class Checkpoint:
    """A folder in the hub's layout.

    Attributes:
        folder: where it is.
        revision: name and version, for people.
    """

    folder: Path
    revision: str

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of its files. Raises CheckpointError unless it holds a JSON object."""
        path = self.folder / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{self.folder} is no checkpoint: {name} is missing") from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} holds no JSON object")
        return content


def embedded_checkpoints() -> dict[str, Path]:
    """Return the folders of the checkpoints that come with the package, by name."""
    root = Path(luvc_core.checkpoints.__path__[0])
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}


def resolve(name: str, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint by embedded name, as a local folder, or on the hub, in this order.

    `revision` is a branch, tag or commit on the hub.

    Raises:
        CheckpointError: where there is none, naming the embedded ones.
    """
    embedded = embedded_checkpoints()
    if name in embedded:
        return Checkpoint(embedded[name], name)
    if name and Path(name).is_dir():
        return Checkpoint(Path(name), Path(name).resolve().name)
    choices = f"embedded checkpoints: {', '.join(embedded) or 'none'}"
    if name.count("/") != 1 or name.startswith((".", "/")) or name.endswith("/"):
        raise CheckpointError(f"{name!r} is no folder and no hub id (owner/name); {choices}")
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{name!r} cannot be had from the hub: {reason}; {choices}"
        ) from error
    return Checkpoint(folder, f"{name}@{folder.name[:12]}")
