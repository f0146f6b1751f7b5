"""Distillation: the schedule, the losses, and a run that can be killed."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest

from captioner.data.photos import load_photo
from captioner.distillation import student, trainer
from captioner.distillation.lessons import Lessons
from captioner.distillation.teacher import Teacher
from captioner.encoders import augmentation, compact

TOY = compact.CompactConfig(image_size=16, stem_size=4, widths=(8,), depths=(1,))
OPTIONS = trainer.DistillationConfig(views=96, batch_size=4, learning_rate=0.02, warmup_steps=0, adam_fraction=0.3)
CALM = augmentation.ViewsConfig(min_side=0.9, color_jitter=0.0, blended=0.0)


@pytest.fixture
def lessons(tiny_encoder_known, drawn_dir):
    """Eight train photos with quarters of one colour, every second one bright, and four drawn ones that judge."""
    quarters = np.random.default_rng(0).integers(0, 100, (8, 2, 2, 3), dtype=np.uint8)
    quarters[::2] += 150
    drawn = np.stack([load_photo(file, 32) for file in sorted((drawn_dir / "Images").iterdir())[:4]])
    # One word for the bright ones, one for the others, and ten that are never used.
    words = np.eye(12, dtype=np.float32)[np.arange(8) % 2]
    return Lessons(
        quarters.repeat(16, axis=1).repeat(16, axis=2), words, {"drawn": (drawn, np.eye(4, 12, dtype=np.float32))}
    )


def start(folder, lessons, *, architecture=TOY, **changes):
    return trainer.Distillation(
        folder,
        lessons,
        Teacher("tiny"),
        dataclasses.replace(OPTIONS, **changes),
        architecture=architecture,
        views_options=CALM,
    )


def read_progress(folder) -> list[dict[str, str]]:
    with (folder / "progress.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_the_rate_rises_stays_and_falls():
    options = trainer.DistillationConfig(views=1000, batch_size=10, warmup_steps=10, learning_rate=1.0)
    rates = [options.learning_rate_at(view) for view in (0, 40, 100, 500, 750, 1000)]
    # Half of the views are left at 500; half-way down the cosine is (1 + 0.01) / 2.
    np.testing.assert_allclose(rates, [0.1, 0.5, 1.0, 1.0, 0.505, 0.01], atol=1e-6)


def test_training_brings_every_loss_down(tmp_path, lessons):
    run = start(tmp_path / "run", lessons, views=400, word_weight=1.0)
    run.train(until=16, judge_seconds=0)
    run.train(until=240)
    run.train(until=280)
    first, last = read_progress(tmp_path / "run")[0], read_progress(tmp_path / "run")[-1]
    for name in student.LOSSES:
        assert float(last[f"{name}_loss"]) < 0.8 * float(first[f"{name}_loss"])


def test_without_a_teacher_only_the_words_are_learnt(tmp_path, lessons):
    run = start(tmp_path / "run", lessons, teacher_weight=0.0)
    heads = {name: run.student.get_layer(f"head_{name}") for name in student.LOSSES}
    before = {name: np.array(head.kernel) for name, head in heads.items()}
    run.train(until=16)
    moved = {name: float(np.abs(np.array(head.kernel) - before[name]).max()) for name, head in heads.items()}
    assert moved["map"] == moved["pooled"] == moved["classes"] == 0 < moved["words"]
    assert "map_loss" not in read_progress(tmp_path / "run")[0]
    run.export(tmp_path / "encoder")
    assert json.loads((tmp_path / "encoder" / "encoder.json").read_text())["teacher"] is None


def test_muon_turns_the_matrices_of_the_network_and_leaves_those_of_the_heads_to_adam(tmp_path, lessons):
    run = start(tmp_path / "run", lessons)
    kernels = {variable.path for variable in run.student.trainable_variables if len(variable.shape) > 1}
    # Where Muon does not turn, Adam keeps a second moment.
    by_adam = {
        path
        for path in kernels
        if any(path.replace("/", "_") in v.path for v in run._optimizer.variables if "velocity" in v.path)
    }
    assert by_adam == {path for path in kernels if path.startswith("head_")}


def test_losses_are_shares_of_variance_a_divergence_and_entropies(lessons):
    teacher = Teacher("tiny")
    teacher.fit_statistics(lessons.photos)
    network = student.build_student(TOY, teacher, np.full(12, 0.5))
    for name in student.LOSSES:
        head = network.get_layer(f"head_{name}")
        head.set_weights([np.zeros_like(values) for values in head.get_weights()])
    distiller = student.Distiller(network, teacher, OPTIONS.loss_weights, num_words=2.0)
    drawn = {
        "boxes": np.tile(np.array([0, 0, 1, 1], np.float32), (8, 1)),
        "factors": np.ones((8, 3), np.float32),
        "shares": np.ones(8, np.float32),
    }
    losses = distiller({"photos": lessons.photos, "words": lessons.words, **drawn})
    # Predicting the mean leaves all of the variance of the photos that were surveyed.
    np.testing.assert_allclose(np.mean(losses["map"]), 1.0, rtol=1e-3)
    np.testing.assert_allclose(np.mean(losses["pooled"]), 1.0, rtol=1e-3)
    # Twelve even bets cost 12 log 2, for two words.
    np.testing.assert_allclose(losses["words"], 6 * np.log(2), rtol=1e-4)
    # tiny's five classes p, no true probabilities, against five even ones: sum of p (log p + log 5).
    classes = np.asarray(teacher(lessons.photos.astype(np.float32))["classes"])
    expected = (classes * (np.log(classes + 1e-9) + np.log(5))).sum(-1)
    np.testing.assert_allclose(losses["classes"], expected, rtol=1e-3, atol=1e-5)
    total = distiller.compute_loss(y_pred=losses)
    weights = OPTIONS.loss_weights
    np.testing.assert_allclose(total, sum(w * np.mean(losses[name]) for name, w in weights.items()), rtol=1e-5)


def test_teacher_and_student_see_the_same_blend(lessons):
    seen = []

    class Spy(Teacher):
        def call(self, pixels):
            seen.append(np.asarray(pixels))
            return super().call(pixels)

    teacher = Spy("tiny")
    teacher.fit_statistics(lessons.photos)
    network = student.build_student(TOY, teacher, np.full(12, 0.5))
    shown = []
    network_call = network.call
    network.call = lambda pixels, **options: (shown.append(np.asarray(pixels)), network_call(pixels, **options))[1]
    distiller = student.Distiller(network, teacher, OPTIONS.loss_weights, num_words=1.0)
    shares = np.array([0.5, 1.0], np.float32)
    boxes, factors = np.array([[0, 0, 1, 1], [0, 1, 1, 0]], np.float32), np.ones((2, 3), np.float32)
    batch = {"photos": lessons.photos[:2], "words": lessons.words[:2], "boxes": boxes, "factors": factors}
    distiller(batch | {"shares": shares})
    first, second = lessons.photos[:2].astype(np.float32)
    np.testing.assert_allclose(seen[-1], [(first + second[:, ::-1]) / 2, second[:, ::-1]], atol=1e-2)
    # Quarters of one colour look the same at half the size, but where antialiasing mixes their borders.
    inner = [1, 2, 3, 12, 13]
    small = seen[-1][:, ::2, ::2][:, inner][:, :, inner] / 127.5 - 1
    np.testing.assert_allclose(shown[-1][:, inner][:, :, inner], small, atol=2e-2)


def test_every_round_shows_every_train_photo_once_in_a_new_order(tmp_path, lessons):
    run = start(tmp_path / "run", dataclasses.replace(lessons, words=np.eye(8, dtype=np.float32)))
    rounds = [
        np.concatenate([run._batch(place)["words"].argmax(-1) for place in (start, start + 4)]) for start in (0, 8)
    ]
    assert sorted(rounds[0]) == sorted(rounds[1]) == list(range(8))
    assert list(rounds[0]) != list(rounds[1])
    # Position alone decides, wherever a batch begins.
    assert list(run._batch(6)["words"].argmax(-1)) == [*rounds[0][6:], *rounds[1][:2]]


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, lessons):
    whole = start(tmp_path / "whole", lessons)
    whole.train(until=40)
    start(tmp_path / "parts", lessons).train(until=20)
    resumed = start(tmp_path / "parts", lessons)
    assert resumed.views == 20
    resumed.train(until=40)
    for ours, theirs in zip(whole.student.weights, resumed.student.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, lessons, monkeypatch):
    run = start(tmp_path / "run", lessons)
    run.views = 8
    run.save()

    def fill_disk(file, **_):
        file.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fill_disk)
    run.views = 16
    with pytest.raises(OSError, match="No space left"):
        run.save()
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["checkpoint.npz"]
    assert start(tmp_path / "run", lessons).views == 8


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4 cut short"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, lessons, content):
    start(tmp_path / "run", lessons).save()
    (tmp_path / "run" / "checkpoint.npz").write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint.npz is damaged. Delete that file: the run begins anew. Received"):
        start(tmp_path / "run", lessons)


@pytest.mark.parametrize("other", ["architecture", "words", "teacher", "version"])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, lessons, other):
    start(tmp_path / "run", lessons).save()
    options = {}
    if other == "architecture":
        options["architecture"] = dataclasses.replace(TOY, widths=(12,))
    elif other == "words":
        lessons = dataclasses.replace(lessons, words=lessons.words[::-1])
    elif other == "teacher":
        options["teacher_weight"] = 0.0
    else:
        np.savez(tmp_path / "run" / "checkpoint.npz", views=8)
    with pytest.raises(
        ValueError, match=r"checkpoint.npz is of another run\. Name another folder.* Received: (tiny|no teacher), 8"
    ):
        start(tmp_path / "run", lessons, **options)


def test_a_checkpoint_is_gone_on_with_by_the_backend_that_wrote_it_alone(tmp_path, lessons):
    start(tmp_path / "run", lessons).save()
    file = tmp_path / "run" / "checkpoint.npz"
    with np.load(file) as arrays:
        content = dict(arrays)
    assert content["backend"] == "tensorflow"
    np.savez(file, **content | {"backend": "jax"})
    with pytest.raises(ValueError, match=r"was begun with jax, and tensorflow does not .* Set KERAS_BACKEND=jax"):
        start(tmp_path / "run", lessons)


def test_a_finished_run_can_be_extended(tmp_path, lessons):
    finished = start(tmp_path / "run", lessons, views=8)
    finished.train()
    longer = start(tmp_path / "run", lessons, views=12)
    longer.train()
    assert (finished.views, longer.views) == (8, 12)
    assert [row["views"] for row in read_progress(tmp_path / "run")] == ["8", "12"]


def test_the_exported_encoder_is_the_student_without_its_heads(tmp_path, lessons):
    run = start(tmp_path / "run", lessons)
    network = compact.build_network(TOY)
    network.load_weights(run.export(tmp_path / "encoder"))
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    head = run.student.get_layer("head_map")
    np.testing.assert_allclose(head(network(pixels)), run.student(pixels)["map"], atol=2e-2)
    facts = json.loads((tmp_path / "encoder" / "encoder.json").read_text())
    assert (facts["teacher"], facts["train_photos"], facts["data"]) == ("tiny", 8, ["drawn"])
    assert facts["keras"] == f"{keras.version()}, {keras.backend.backend()}"
    assert facts["validation"] == run.judge()


def test_heads_are_not_trained_by_muon(tmp_path, lessons):
    run = start(tmp_path / "run", lessons)
    by_muon = {v.path for v in run.student.trainable_variables if not run._optimizer._should_use_adamw(v)}
    assert any("stage0" in path for path in by_muon)
    heads = {v.path for v in run.student.trainable_variables if "head_" in v.path and len(v.shape) == 2}
    assert heads and not heads & by_muon
