"""`luvc calibrate` from the folder to the profile file, on a small random model."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from luvc.cli.main import main as luvc
from luvc.local_stack.ending import tied_to_parent

from luvc_core.calibrate.__main__ import main
from luvc_core.calibrate.config import CalibrateConfig
from luvc_core.calibrate.question_folder import read_folder, shown_alone
from luvc_core.compression.profile_files import read_profiles
from luvc_core.errors import InvalidInput
from luvc_core.runtime.cli_config import config_from
from tests.support.checkpoints import encoded, noise_image
from tests.support.video_files import FRAMES, encode_video

QUESTIONS: list[dict[str, Any]] = [
    {"files": ["0.png"], "question": "What is it?", "answer": "A  Blob"},
    {"files": ["1.png", "2.png"], "question": "Which one?"},
    {"files": ["clip.mp4"], "question": "What moves?", "answer": "nothing"},
    {"files": ["2.png"], "question": "How many?"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for i in range(3):
        (data / f"{i}.png").write_bytes(encoded(noise_image(112, 84 + 28 * i, i)))
    (data / "clip.mp4").write_bytes(encode_video(FRAMES[:3]))
    lines = "\n\n".join(map(json.dumps, QUESTIONS))
    (data / "questions.jsonl").write_text(lines + "\n")
    return data


def test_a_profile_is_found_written_and_shown(
    folder: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "own.toml"
    flags = [f"--data={folder}", f"--model={checkpoint}", f"--output={output}", "--dtype=float32",
             "--target-loyalty=0.25", "--max-tokens=3", "--name=mine", "--device=cpu"]  # fmt: skip
    assert main(flags, {}) == 0
    printed = capsys.readouterr()
    own = read_profiles(str(output), layer_count=5).get("mine")
    assert own.spu is not None
    assert own.spu.layer_counts(5, 100)[-1] == 0
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "off" in printed.out
    assert f"--profiles {output} --profile mine" in printed.out
    assert "uncompressed: 100%" in printed.err
    assert output.read_text().startswith("# Written by `luvc calibrate`")


def test_where_the_target_is_out_of_reach_the_best_is_shown_and_nothing_written(
    folder: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten random tokens in a row survive no pruning."""
    output = tmp_path / "own.toml"
    flags = [f"--data={folder}", f"--model={checkpoint}", f"--output={output}", "--device=cpu",
             "--target-loyalty=1", "--max-tokens=10", "--dtype=float32"]  # fmt: skip
    assert main(flags, {}) == 1
    printed = capsys.readouterr().out
    assert "The target of 100 % was not reached" in printed
    assert "* " in printed
    assert not output.exists()
    assert output.with_suffix(".png").is_file()


def test_a_folder_is_read_in_order(folder: Path) -> None:
    questions = read_folder(str(folder))
    assert [q.text for q in questions] == [asked["question"] for asked in QUESTIONS]
    assert [q.answer for q in questions] == ["A  Blob", None, "nothing", None]
    assert questions[1].files == (folder / "1.png", folder / "2.png")
    # Empty lines count.
    assert questions[1].location == f"{folder}/questions.jsonl:3"
    assert [shown_alone(q.read()) for q in questions] == [True, False, False, True]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "no JSON: "),
        ("[]", "no JSON object"),
        ('{"files": ["0.png"], "question": "?", "truth": "x"}', "truth: unknown field; allowed: f"),
        ('{"files": ["0.png"]}', "question: got None"),
        ('{"files": ["0.png"], "question": " "}', "question: got ' '"),
        ('{"files": ["0.png"], "question": "?", "answer": 7}', "answer: got 7"),
        ('{"question": "?"}', "files: got None"),
        ('{"files": [], "question": "?"}', "files: got []"),
        ('{"files": "0.png", "question": "?"}', "files: got '0.png'"),
        ('{"files": ["9.png"], "question": "?"}', "9.png is no file"),
    ],
)
def test_a_broken_line_is_named(folder: Path, line: str, problem: str) -> None:
    with (folder / "questions.jsonl").open("a") as questions:
        questions.write(line + "\n")
    with pytest.raises(InvalidInput) as caught:
        read_folder(str(folder))
    assert f"questions.jsonl:8: {problem}" in str(caught.value).replace(f"files: {folder}/", "")


def test_a_folder_without_questions_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "questions.jsonl").write_text("\n")
    output = f"--output={tmp_path}/own.toml"
    assert main([f"--data={folder}", output], {}) == 2
    assert 'questions.jsonl: empty; allowed: lines {"files": ["a.png"]' in capsys.readouterr().err
    (folder / "questions.jsonl").unlink()
    assert main([f"--data={folder}", output], {}) == 2
    assert "has no questions.jsonl" in capsys.readouterr().err
    assert main([f"--data={folder}/none", output], {}) == 2
    assert "none: no such folder" in capsys.readouterr().err


def test_an_image_that_is_none_is_named_with_its_line(
    folder: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "0.png").write_bytes(b"no picture")
    flags = [f"--data={folder}", f"--model={checkpoint}", f"--output={tmp_path}/own.toml"]
    assert main(flags, {}) == 2
    assert f"questions.jsonl:1: {folder}/0.png: " in capsys.readouterr().err


def test_a_model_that_is_none_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--data={folder}", "--model=nothing", f"--output={tmp_path}/own.toml"]
    assert main(flags, {}) == 1
    assert "'nothing' is no folder and no hub id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "environ", "named"),
    [
        ([], {}, "--data"),
        (["--data=x", "--target-loyalty=1.1"], {}, "--target-loyalty"),
        (["--data=x", "--target-loyalty=0"], {}, "--target-loyalty"),
        (["--data=x", "--name=max"], {}, "built-in"),
        (["--data=x", "--name=a b"], {}, "--name"),
        (["--data=x", "--max-tokens=0"], {}, "--max-tokens"),
        (["--data=x", "--output=/nowhere/own.toml"], {}, "--output"),
        (["--data=x", "--plot=/"], {}, "--plot"),
        (["--data=x", "--picture=/"], {}, "--plot"),
        (["--data=x"], {"LUVC_CALIBRATE_TARGET": "1"}, "LUVC_CALIBRATE_TARGET"),
    ],
)
def test_flags_are_checked(
    flags: list[str], environ: dict[str, str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(flags, environ)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


def run_command(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, status: int = 0
) -> tuple[int, list[str]]:
    """Return the exit status of `luvc calibrate`, and what it ran."""
    ran: list[str] = []

    def run(command: list[str], check: bool) -> SimpleNamespace:
        ran.extend(command)
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr("subprocess.run", run)
    return luvc(["calibrate", *arguments]), ran


def test_the_command_runs_the_search_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ("--data", "own", "--target-loyalty", "0.97", "--output", "a.toml")
    status, ran = run_command(monkeypatch, *flags, status=1)
    assert status == 1
    assert ran[:-3] == tied_to_parent([sys.executable, "-m", "luvc_core.calibrate"])
    assert ran[-3:] == ["--data=own", "--target-loyalty=0.97", "--output=a.toml"]
    config = config_from(CalibrateConfig, "luvc calibrate", "LUVC_CALIBRATE_", ran[-3:], {})
    assert (config.target_loyalty, str(config.plot_path)) == (0.97, "a.png")


def test_every_flag_is_one_of_the_search_and_its_help_says_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        luvc(["calibrate", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert '{"files": ["receipt.png"], "question": "What is the total?", "answer"' in shown
    for name, field in CalibrateConfig.__dataclass_fields__.items():
        assert f"--{name.replace('_', '-')} " in shown
        if field.default:
            assert f"(default: {field.default})" in " ".join(shown.split())


def test_without_matplotlib_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "matplotlib" or None)
    status, ran = run_command(monkeypatch, "--data", "own")
    assert (status, ran) == (2, [])
    assert "matplotlib and tqdm: pip install 'luvc[serve,calibrate]'" in capsys.readouterr().err
