"""The files of a run: read as they were written, and kept by whoever trains in their folder."""

from types import SimpleNamespace

import numpy as np
import pytest

from captioner import files
from captioner.training import fine_tuning, recipe, run_files, self_critical, teacher_forcing

DECODER = SimpleNamespace(get_weights=lambda: [np.zeros(2)])


def test_a_history_that_was_read_is_written_with_the_same_bytes(tmp_path):
    rows = [{"epoch": 1, "loss": 4.25, "val_cider_d": 0.0}, {"epoch": 2, "loss": None, "val_cider_d": 1e-07}]
    run_files.write_history(tmp_path / "history.csv", rows)
    read = run_files.read_history(tmp_path / "history.csv")
    assert repr(read) == repr(rows)


@pytest.mark.parametrize(
    "train",
    [
        lambda folder: teacher_forcing.train_decoder(DECODER, None, None, None, folder),
        lambda folder: self_critical.refine_decoder(DECODER, None, {}, None, None, folder),
    ],
)
def test_a_stage_leaves_the_folder_alone_in_which_another_process_trains(train, tmp_path):
    (tmp_path / "refined.json").write_text("{}")
    with (
        run_files.alone(tmp_path),
        pytest.raises(BlockingIOError, match=r"run.json is in use: process \d+ on .* has been training since .* Wait"),
    ):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["refined.json"]


def test_fine_tuning_leaves_the_folder_alone_in_which_another_process_trains(tmp_path, monkeypatch):
    """Only reached after its maps are made, so here all before that is left out."""
    run = SimpleNamespace(train=lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(fine_tuning.epochs, "Run", lambda *_, **__: run)
    for name in ("_describe", "_Encoded", "_Trainer", "PhotoBatches"):
        monkeypatch.setattr(fine_tuning, name, lambda *_: None)
    names = [f"{split}{views}" for split in ("train", "validation") for views in ("", " views")]
    monkeypatch.setattr(fine_tuning, "_extract_maps", lambda *_: dict.fromkeys(names, SimpleNamespace(failed={})))
    monkeypatch.setattr(fine_tuning.stages, "split_encoder", lambda _: (SimpleNamespace(map_shape=None), None))
    monkeypatch.setattr(fine_tuning.evaluation, "validation_scorer", lambda *_: None)
    captioner = SimpleNamespace(
        encoder=SimpleNamespace(name="compact", mirrored=False), vocabulary=None, decoder=DECODER, settings=None
    )
    dataset = SimpleNamespace(folder=tmp_path, references_of=lambda _: {})
    with run_files.alone(tmp_path), pytest.raises(BlockingIOError, match="has been training since"):
        fine_tuning.fine_tune_captioner(captioner, dataset, tmp_path)


def test_a_whole_training_keeps_its_folder_between_its_stages_too(tmp_path, monkeypatch):
    materials = SimpleNamespace(run_dir=tmp_path / "run", plan=None)
    held = []

    def build(*_, **__):
        with pytest.raises(BlockingIOError), files.hold(materials.run_dir, "looking"):
            pass
        held.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "build_vocabulary", build)
    with files.hold(materials.run_dir, "training"), pytest.raises(BlockingIOError, match="run is in use: process"):
        recipe.train_captioner(materials)
    assert not held
    with pytest.raises(KeyboardInterrupt):
        recipe.train_captioner(materials)
    assert held and not list(tmp_path.iterdir())
