"""What `luvc models` prints: what the families declare, for people and for programs."""

import json

import pytest
from luvc.cli.main import main

from luvc_core.models.catalogue import catalogue, table
from luvc_core.models.registry import FAMILIES
from tests.support.families import ALL_FAMILIES, KITS, Kit


def test_every_family_is_tested_and_known_by_its_model_type() -> None:
    assert set(KITS) == set(FAMILIES)


@ALL_FAMILIES
def test_a_family_is_listed_as_it_declares_itself(family: Kit) -> None:
    (listed,) = (f for f in catalogue()["families"] if f["family"] == family.name)
    assert listed["title"] == family.layout.title
    assert "picture" in listed["takes"]
    assert listed["positions"] == ("M-RoPE" if family.mrope else "1-D")


def test_the_command_prints_one_json_object(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == catalogue()


def test_people_see_a_line_for_each() -> None:
    families, models = table(catalogue()).split("\n\n")
    lines = [line.split() for line in families.splitlines()[1:]]
    assert [line[0] for line in lines] == list(FAMILIES)
    assert ["qwen2_5_vl", "Qwen2.5-VL", "yes", "yes", "yes", "even", "M-RoPE"] in lines
    assert ["llava", "LLaVA-1.5", "yes", "yes", "no", "any", "1-D"] in lines
    (tiny,) = (line for line in models.splitlines() if line.startswith("luvc-tiny-qwen2vl"))
    assert tiny.split()[1:] == ["qwen2_vl", "6.8", "M", "13.0", "MiB"]


def test_without_the_model_stack_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["models"]) == 2
    assert "luvc[serve]" in capsys.readouterr().err
