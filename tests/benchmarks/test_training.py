"""What the embedded checkpoints are trained on is what the product shows them later."""

import random
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from benchmarks.tasks import make_sample, make_series
from benchmarks.tasks.question_files import mp4, png
from benchmarks.tasks.words import COLORS, SHAPES
from benchmarks.train.average_checkpoints import mean_of
from benchmarks.train.diets import LEARNT_LAST
from benchmarks.train.export import export
from benchmarks.train.llm_losses import Losses
from benchmarks.train.llm_on_images import FILED, Trainee
from benchmarks.train.llm_on_labels import new_student
from benchmarks.train.model import FAMILIES, HIDDEN, LLM_LAYERS, build_config, fresh_model
from benchmarks.train.sample_views import PADDING
from benchmarks.train.tokenizer import build_tokenizer
from benchmarks.train.tower_init import start_from_qwen2_vl
from benchmarks.train.towers import TOWERS, Looks, look_gap
from luvc_core.chat import Message
from luvc_core.compression.profiles import PROFILES
from luvc_core.engine.prefill import prefill
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import LanguageHalf
from luvc_core.models.registry import load_language, load_vision

pytestmark = pytest.mark.transformers

SEED = 1_000_003


class Both(NamedTuple):
    """A family as it is trained, and as the product loads it."""

    trainee: Trainee
    encoder: MediaEncoder
    language: LanguageHalf


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    family = FAMILIES[request.param]
    torch.manual_seed(0)
    student = new_student(LLM_LAYERS, (family.name,))
    tokenizer = build_tokenizer(family.marks)
    table = student.viewers[family.name].table
    model = fresh_model(build_config(family, tokenizer, 1), family, table.embedding)
    tower = TOWERS[family.name](model)
    assert table.vectors.shape[1] == HIDDEN
    for weight in chain(student.llm.parameters(), tower.modules.parameters()):
        # As stored.
        weight.data = weight.data.bfloat16().float()
    folder = tmp_path_factory.mktemp(family.checkpoint)
    export(family, student.llm, tower, folder)
    vision = load_vision(str(folder), "cpu", "float32")
    language = load_language(str(folder), "cpu", "float32")
    return Both(Trainee(family, student, tower, Path(folder)), MediaEncoder(vision), language)


def files_of(task: str, side: int) -> list[bytes]:
    """As they are asked about; see `benchmarks.tasks.question_files`."""
    if task == "scene":
        image = make_sample(task, SEED).image
        assert image is not None
        return [png(image)]
    frames = [image.resize((FILED, FILED), 3) for image in make_series(task, SEED, side).images]
    return [mp4(frames)] if task == "clip" else [png(image) for image in frames]


@pytest.mark.parametrize("task", ["scene", "pair", "clip"])
@torch.no_grad()
def test_training_and_product_see_the_same(task: str, both: Both) -> None:
    trainee, family = both.trainee, both.trainee.family
    view = trainee.see(task, SEED)
    view = view._replace(asked=view.asked[:1], hot=view.hot.float(), features=view.features.float())
    prefix = trainee.student.viewers[family.name].prefix(view, 1.0)
    pack = trainee.student.packers[family.name].pack([view], [prefix], random.Random(0), 0.0)

    files = files_of(task, family.frame)
    patches = [both.encoder.prepare(file, "file", len(files) == 1) for file in files]
    tokens = both.encoder.encode(patches, PROFILES["off"].oim)
    prompt = both.language.tokenize((Message("user", (*tokens, view.asked[0].question)),))

    length, visual = prompt.length, prompt.segment >= 0
    assert torch.equal(pack.cells[0, :length] != PADDING, visual)
    assert torch.equal(pack.ids[0, :length][~visual], prompt.ids[~visual])
    axes = prompt.positions.shape[1]
    assert torch.equal(pack.positions[:axes, 0, :length].T.float(), prompt.positions)

    trained = torch.stack([
        view.features[cell] if cell >= 0 else trainee.student.newline
        for cell in prefix.cells if cell != PADDING
    ])  # fmt: skip
    # Clips have been through a lossy codec, and views are kept in half precision.
    close(torch.cat([t.embeddings for t in tokens]), trained, 0.05 if task == "clip" else 2e-3)
    losses = Losses(trainee.student.llm, trainee.student.heads, pack, [view],
                    trainee.student.newline)  # fmt: skip
    logits, _ = prefill(both.language, prompt, None, lambda: None)
    close(logits, losses.logits[0], 0.05 if task == "clip" else 2e-3)


def close(ours: Tensor, trained: Tensor, share: float) -> None:
    """Mean difference as a share of the mean size."""
    assert ours.shape == trained.shape
    assert (ours - trained).abs().mean() < share * trained.abs().mean()


def test_internvl_starts_out_looking_nearly_where_qwen2_vl_looks() -> None:
    """Equal blocks on other places: a gap, but none between a tower and itself."""
    towers = {}
    for name in ("qwen2-vl", "internvl"):
        family = FAMILIES[name]
        config = build_config(family, build_tokenizer(family.marks), 1)
        towers[name] = TOWERS[name](fresh_model(config, family, torch.zeros(1, HIDDEN)))
    weights = towers["qwen2-vl"].modules.state_dict()
    start_from_qwen2_vl(towers["internvl"], weights)
    patches = torch.randn(2, 64, 3 * 14 * 14)
    looks: dict[str, Looks] = {name: [] for name in towers}
    with torch.no_grad():
        for name, tower in towers.items():
            tower.forward(patches, (4, 4), (0, 0), looks[name])
    rows = torch.arange(0, 64, 3)
    assert [query.shape for query, _ in looks["internvl"]] == [(2, 2, 64, 64)] * 6
    assert look_gap(looks["internvl"], looks["internvl"], rows).abs() < 1e-5
    assert look_gap(looks["internvl"], looks["qwen2-vl"], rows) > 1e-3


@pytest.mark.parametrize("task", LEARNT_LAST)
def test_what_is_learnt_last_is_told_by_labels(both: Both, task: str) -> None:
    views = both.trainee.tell(task, 3, random.Random(1))
    asked = [qa for view in views for qa in view.asked]
    unnamed = [qa.question for qa in asked if qa.kind != "change"]
    assert all(LEARNT_LAST[task] in question for question in unnamed)
    words = {word for question in unnamed for word in question.rstrip("?").split()}
    assert not words & {*COLORS, *SHAPES}
    losses = both.trainee.losses(views, random.Random(1), 0.1)
    assert len(losses.targets) >= 2 * len(asked)


def test_the_mean_of_several_states() -> None:
    states = [{"a": torch.tensor([1.0, 4.0])}, {"a": torch.tensor([3.0, -1.0])}]
    assert mean_of(states)["a"].tolist() == [2.0, 1.5]
    with pytest.raises(ValueError, match="different"):
        mean_of([*states, {"b": torch.zeros(2)}])
