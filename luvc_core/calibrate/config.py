"""Configuration of `luvc calibrate`, from flags and LUVC_CALIBRATE_* variables."""

from dataclasses import dataclass
from pathlib import Path

from luvc_core.compression.profile_files import check_name
from luvc_core.runtime.cli_config import check, flag


@dataclass(frozen=True)
class CalibrateConfig:
    """Flags of `luvc calibrate`; each one's help text says what it is."""

    model: str = flag("luvc-tiny-qwen2vl", "embedded name, local folder or hub id")
    data: str = flag("", "folder with media files and questions.jsonl")
    target_loyalty: float = flag(0.99, "share of answers that have to equal uncompressed ones")
    output: str = flag("calibrated.toml", "profile file to write, in place of an older one")
    plot: str = flag(
        "", "PNG file for the curve; by default beside the profile file", former="picture"
    )
    name: str = flag("calibrated", "name of the profile")
    max_tokens: int = flag(32, "longest answer, in tokens")
    device: str = flag("auto", "auto, cpu, cuda or cuda:N")
    dtype: str = flag("auto", "number format", ("auto", "float32", "bfloat16", "float16"))

    def __post_init__(self) -> None:
        check(bool(self.data), "data", "nothing", "a folder")
        check(0 < self.target_loyalty <= 1, "target_loyalty", self.target_loyalty, "(0, 1]")
        problem = check_name(self.name)
        check(not problem, "name", f"{self.name!r}, {problem}", "letters, digits, - and _")
        check(self.max_tokens >= 1, "max_tokens", self.max_tokens, ">= 1")
        # The search takes long: find out before it whether its results can be written.
        for name, path in (("output", Path(self.output)), ("plot", self.plot_path)):
            fits = path.parent.is_dir() and not path.is_dir()
            check(fits, name, repr(str(path)), "a file in a folder that there is")

    @property
    def plot_path(self) -> Path:
        """File of the plot: `plot`, or the output's name with .png."""
        return Path(self.plot) if self.plot else Path(self.output).with_suffix(".png")
