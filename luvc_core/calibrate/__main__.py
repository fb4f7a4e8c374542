"""`python -m luvc_core.calibrate`, which `luvc calibrate` runs as a process of its own."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from luvc_core.calibrate import plot, report
from luvc_core.calibrate.config import CalibrateConfig
from luvc_core.calibrate.evaluation import Evaluation
from luvc_core.calibrate.question_folder import read_folder
from luvc_core.calibrate.search import Search
from luvc_core.calibrate.trial import Trial, label
from luvc_core.compression.profile_files import to_toml
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.errors import InvalidInput, ServiceError
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.registry import load_language, load_vision
from luvc_core.runtime.cli_config import config_from


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command and return its exit status.

    It is 1 where the target cannot be reached or the model cannot be loaded, and 2 for flags or
    questions that cannot be used.
    """
    config = config_from(CalibrateConfig, "luvc calibrate", "LUVC_CALIBRATE_", arguments, environ)
    try:
        return calibrate(config)
    except InvalidInput as error:
        print(f"luvc: {error}", file=sys.stderr)
        return 2
    except (ServiceError, OSError) as error:
        print(f"luvc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def calibrate(config: CalibrateConfig) -> int:
    """Search, draw and print; write the profile file only where the target is reached."""
    questions = read_folder(config.data)
    encoder = MediaEncoder(load_vision(config.model, config.device, config.dtype))
    engine = RequestProcessor(load_language(config.model, config.device, config.dtype))
    evaluation = Evaluation(encoder, engine, questions, config.max_tokens)
    plain = evaluation.uncompressed()
    target = config.target_loyalty
    search = Search(evaluation.ask, engine.language.layer_count, len(questions), target)
    best = search.run()
    tried = [plain, *search.trials]
    title = f"{config.model}: {len(questions)} questions"
    plot.draw(tried, best, target, title, config.plot_path)
    verdict = report.verdict(best, target, len(search.trials))
    print(report.table(tried, best))
    print(f"\n{verdict}\ncurve: {config.plot_path}")
    if not best.passed:
        return 1
    _write(config, best, len(questions))
    print(f"profile: {config.name} in {config.output}; use it with")
    print(f"  luvc serve --model {config.model} --profiles {config.output} --profile {config.name}")
    return 0


def _write(config: CalibrateConfig, best: Trial, questions: int) -> None:
    comment = (
        f"Written by `luvc calibrate` for {config.model}: {label(best.compression)}.\n"
        f"Of {questions} questions in {Path(config.data).resolve().name},"
        f" {100 * best.loyalty:.1f} % were answered as without compression\n"
        f"(95 %: {report.interval(best)}; target {100 * config.target_loyalty:g}),"
        f" with {100 * best.averaged:.1f} % of the visual tokens in the average layer."
    )
    profile = replace(best.compression, name=config.name)
    Path(config.output).write_text(to_toml([profile], comment), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
