"""Distillation: the schedule, and a run that can be killed."""

import csv
import dataclasses

import numpy as np
import pytest
import toy_targets as toys

from captioner import compact, distillation

TOY = compact.CompactConfig(image_size=16, stem_size=4, widths=(8,), depths=(1,))
OPTIONS = distillation.DistillationConfig(
    views=96, batch_size=4, learning_rate=0.02, warmup_views=0, average_views=16, color_jitter=0.0, adam_fraction=0.3
)


@pytest.fixture
def toy_targets(tmp_path):
    return toys.write_toy_targets(tmp_path / "targets")


def start(folder, targets, **changes):
    return distillation.Distillation(folder, targets, dataclasses.replace(OPTIONS, **changes), TOY)


def test_the_rate_rises_stays_and_falls():
    options = distillation.DistillationConfig(views=1000, batch_size=10, warmup_views=100, learning_rate=1.0)
    rates = [options.learning_rate_at(view) for view in (0, 40, 100, 500, 750, 1000)]
    # Half of the views are left at 500; half-way down the cosine is (1 + 0.01) / 2.
    np.testing.assert_allclose(rates, [0.1, 0.5, 1.0, 1.0, 0.505, 0.01], atol=1e-6)


def test_training_brings_every_loss_down(tmp_path, toy_targets):
    run = start(tmp_path / "run", toy_targets, views=400)
    before = run.judge()
    losses = np.array([[float(loss) for loss in run.step()] for _ in range(60)])
    assert (losses[-20:].mean(0) < [0.8, 0.8, 0.8, 0.9] * losses[:4].mean(0)).all()
    assert run.judge()["map_explained"] > max(before["map_explained"], 0.2)


def test_without_a_teacher_only_the_words_are_learnt(tmp_path, toy_targets):
    run = start(tmp_path / "run", toy_targets, views=400, teacher_weight=0.0)
    heads = {name: run.student.get_layer(f"head_{name}").kernel.numpy() for name in ("map", "pooled", "words")}
    losses = np.array([float(run.step()[3]) for _ in range(60)])
    assert losses[-20:].mean() < 0.9 * losses[:4].mean()
    moved = {name: np.abs(run.student.get_layer(f"head_{name}").kernel - old).max() for name, old in heads.items()}
    assert moved["map"] == moved["pooled"] == 0 < moved["words"]


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, toy_targets):
    whole = start(tmp_path / "whole", toy_targets)
    whole.train(until=40)
    start(tmp_path / "parts", toy_targets).train(until=20)
    resumed = start(tmp_path / "parts", toy_targets)
    assert resumed.views == 20
    resumed.train(until=40)
    for model in ("student", "average"):
        for ours, theirs in zip(getattr(whole, model).weights, getattr(resumed, model).weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_half_written_checkpoint_is_never_read(tmp_path, toy_targets):
    run = start(tmp_path / "run", toy_targets)
    run.views = 8
    run.save()
    (tmp_path / "run" / "checkpoint.tmp").write_bytes(b"killed here")
    assert start(tmp_path / "run", toy_targets).views == 8


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, toy_targets):
    start(tmp_path / "run", toy_targets).save()
    other = dataclasses.replace(TOY, widths=(12,))
    with pytest.raises(ValueError, match=r"checkpoint.npz does not fit this network. .* Received: "):
        distillation.Distillation(tmp_path / "run", toy_targets, OPTIONS, other)


def test_a_finished_run_can_be_extended(tmp_path, toy_targets):
    finished = start(tmp_path / "run", toy_targets, views=8)
    finished.views = 8
    finished.save()
    longer = start(tmp_path / "run", toy_targets, views=12)
    longer.train()
    assert longer.views == 12


def test_progress_is_one_line_per_judgement(tmp_path, toy_targets):
    run = start(tmp_path / "run", toy_targets)
    run.train(until=8)
    run.train(until=16)
    with (tmp_path / "run" / "progress.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["views"] for row in rows] == ["8", "16"]
    assert {"map_loss", "map_cosine", "pooled_cosine", "word_precision"} <= rows[0].keys()


def test_the_exported_encoder_is_the_averaged_one_without_its_heads(tmp_path, toy_targets):
    run = start(tmp_path / "run", toy_targets)
    network = compact.build_network(TOY)
    network.load_weights(run.export(tmp_path / "encoder"))
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    head = run.average.get_layer("head_map")
    np.testing.assert_allclose(head(network(pixels)), run.average(pixels)["map"], atol=2e-2)
