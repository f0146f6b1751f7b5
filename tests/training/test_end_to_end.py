"""An encoder and a decoder that learn together from photos, at toy size: two convolutions and drawn pictures."""

import dataclasses

import keras
import numpy as np
import pytest

from captioner import config
from captioner.data.vocabulary import Vocabulary
from captioner.decoder.network import CaptionDecoder
from captioner.decoder.sight import Sight
from captioner.encoders import augmentation, kernels, specs
from captioner.training import end_to_end, tuning

CAPTIONS = [["a red dog", "a dog"], ["a blue cat sits on a mat"], ["a red cat", "a cat", "a red cat sits"]]
VOCABULARY = Vocabulary.from_captions((text for texts in CAPTIONS for text in texts), 1)
SETTINGS = tuning.EndToEndConfig(
    epochs=2, frozen_epochs=1, photos_per_batch=3, warmup_steps=1, learning_rate=1e-2, encoder_learning_rate=1e-2
)


@pytest.fixture(scope="module")
def photos():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    spec = dataclasses.replace(specs.ENCODERS["mobilenet_v2"], preprocess=lambda pixels: pixels / 127.5 - 1)
    monkeypatch.setitem(specs.ENCODERS, "toy", spec)


def make_sight(seed=0, dropout=0.0):
    keras.utils.set_random_seed(seed)
    photo = keras.Input((8, 8, 3))
    grid = keras.layers.Conv2D(4, 4, strides=4, name="first")(photo)
    grid = keras.layers.BatchNormalization(name="norm")(grid)
    grid = keras.layers.Conv2D(5, 1, activation="relu", name="second")(grid)  # (B, 2, 2, 5)
    pooled = keras.layers.GlobalAveragePooling2D()(grid)
    network = keras.Model(photo, {"pooled": pooled, "regions": keras.layers.Reshape((4, 5))(grid)})
    settings = config.DecoderConfig(units=8, embedding_size=4, attention_size=4, memory_size=8, dropout=dropout)
    return Sight("toy", network, CaptionDecoder(len(VOCABULARY), 5, 4, 5, settings))


def make_batches(photos, **changes):
    return end_to_end.ViewBatches(photos, CAPTIONS, VOCABULARY, dataclasses.replace(SETTINGS, **changes))


def train(sight, batches, folder, scores, *, teachers=(), **changes):
    left = iter(scores)
    settings = dataclasses.replace(SETTINGS, **changes)
    return end_to_end.train_end_to_end(
        sight,
        batches,
        lambda: {"cider_d": next(left)},
        folder,
        settings=settings,
        description={"of": "toys"},
        teachers=teachers,
        progress=False,
    )


def test_a_batch_holds_views_and_all_captions_the_shorter_and_the_longer(photos):
    [batch] = make_batches(photos, view_share=0.0).epoch(1)
    # Of at most three captions the longest is read apart; photos with fewer begin with none.
    assert batch["shorter"].shape[:2] == (3, 2) and batch["longer"].shape[:2] == (3, 1)
    order = [int(np.flatnonzero([(photo == one).all() for one in photos])[0]) for photo in batch["photos"]]
    assert sorted(order) == [0, 1, 2]
    for row, number in enumerate(order):
        read = [ids for part in ("shorter", "longer") for ids in batch[part][row].tolist()]
        texts = [" ".join(VOCABULARY.words[i] for i in ids if i > VOCABULARY.end_id) for ids in read]
        assert sorted(filter(None, texts)) == sorted(CAPTIONS[number])
    assert (batch["boxes"] == augmentation.WHOLE).all() and (batch["factors"] == 1).all()
    longest = batch["longer"][order.index(1), 0].tolist()
    assert longest[0] == VOCABULARY.start_id and longest[-1] == VOCABULARY.end_id


def test_views_differ_from_epoch_to_epoch_and_come_again_with_the_seed(photos):
    batches = make_batches(photos, view_share=1.0)
    [first], [again], [second] = batches.epoch(1), batches.epoch(1), batches.epoch(2)
    np.testing.assert_array_equal(first["boxes"], again["boxes"])
    assert (first["boxes"] != second["boxes"]).any()
    assert (first["boxes"] != augmentation.WHOLE).any(axis=1).all()


def test_all_batches_are_as_long_where_each_length_is_compiled(photos):
    long = end_to_end.ViewBatches(photos, CAPTIONS, VOCABULARY, SETTINGS, full_length=True)
    [batch] = long.epoch(1)
    assert batch["shorter"].shape == (3, 2, 23) and batch["longer"].shape == (3, 1, 23)


def test_the_loss_is_the_mean_over_all_words_of_all_captions(photos):
    sight = make_sight()
    [batch] = make_batches(photos, view_share=0.0).epoch(1)
    total, count = end_to_end.Tuner(sight)(batch)
    # Word by word, each caption alone: start and words go in, words and end come out.
    expected, words = 0.0, 0
    for photo, texts in zip(photos, CAPTIONS, strict=True):
        whole = augmentation.see(photo[None], augmentation.WHOLE[None], np.ones((1, 3), np.float32), 8)
        seen = sight.network(whole / 127.5 - 1)
        for text in texts:
            ids = VOCABULARY.encode(text)
            inputs = {**seen, "input_ids": np.array([[VOCABULARY.start_id, *ids]])}
            log_probs = np.array(keras.ops.log_softmax(sight.decoder(inputs)))[0]
            targets = [*ids, VOCABULARY.end_id]
            expected -= log_probs[np.arange(len(targets)), targets].sum()
            words += len(targets)
    assert float(count) == words == 27
    np.testing.assert_allclose(float(total), expected, rtol=1e-5)


def test_teachers_words_count_as_the_mean_of_what_they_find_likely(photos):
    sight, teachers = make_sight(), [make_sight(1), make_sight(2)]
    [batch] = make_batches(photos, view_share=0.0).epoch(1)
    alone, count = (float(value) for value in end_to_end.Tuner(sight)(batch))
    taught = float(end_to_end.Tuner(sight, teachers, 0.25)(batch)[0])
    expected = 0.0
    for part in ("shorter", "longer"):
        ids = batch[part]
        logits = [np.array(one.read(one.start(batch, False), ids, False)) for one in (sight, *teachers)]
        likely = np.mean([np.array(keras.ops.softmax(other)) for other in logits[1:]], axis=0)
        counted = ids[..., 1:].reshape(likely.shape[:2]) > 0
        expected -= ((likely * np.array(keras.ops.log_softmax(logits[0]))).sum(-1) * counted).sum()
    np.testing.assert_allclose(taught, 0.75 * alone + 0.25 * expected, rtol=1e-5)
    assert count == 27


def test_kernels_and_decoder_learn_and_nothing_else(photos, tmp_path):
    sight, teacher = make_sight(), make_sight(1)
    parts = {"network": sight.network, "decoder": sight.decoder, "teacher": teacher.network, "reader": teacher.decoder}
    before = {name: [weight.copy() for weight in part.get_weights()] for name, part in parts.items()}
    history = train(sight, make_batches(photos), tmp_path, [1.0, 2.0, 3.0], teachers=[teacher])
    changed = {
        name: [bool((old != new).any()) for old, new in zip(before[name], part.get_weights(), strict=True)]
        for name, part in parts.items()
    }
    learnt = {kernel.path for kernel in kernels.find_kernels(sight.network).values()}
    assert len(learnt) == 2
    assert changed["network"] == [weight.path in learnt for weight in sight.network.weights]
    assert sum(changed["decoder"]) > 10 and not any(changed["teacher"] + changed["reader"])
    assert [row["epoch"] for row in history] == [0, 1, 2] and history[0]["loss"] is None
    for kernel in kernels.find_kernels(sight.network).values():
        np.testing.assert_array_equal(kernel, np.array(kernel).astype(np.float16))


def test_the_encoder_waits_until_the_decoder_knows_something(photos, tmp_path):
    sight = make_sight()
    before = [np.array(kernel) for kernel in kernels.find_kernels(sight.network).values()]
    # Of three epochs the second is the best, before the encoder moves.
    train(sight, make_batches(photos), tmp_path, [1.0, 2.0, 3.0, 0.0], frozen_epochs=2, epochs=3)
    for old, new in zip(before, kernels.find_kernels(sight.network).values(), strict=True):
        np.testing.assert_array_equal(old.astype(np.float16), new)


def test_slow_variables_wait_and_come_to_their_share_of_the_rate():
    slow, fast = keras.Variable([0.0]), keras.Variable([0.0])
    optimizer = end_to_end.TwoRates(0.1, num_slow=1, slow_share=0.1, wait=2, weight_decay=0.0)
    optimizer.build([slow, fast])
    moves = []
    for _ in range(5):
        before = float(slow.numpy()[0]), float(fast.numpy()[0])
        # Under equal gradients Adam moves by the rate.
        optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)])
        moves.append((before[0] - float(slow.numpy()[0]), before[1] - float(fast.numpy()[0])))
    np.testing.assert_allclose([fast for _, fast in moves], 0.1, rtol=1e-4)
    np.testing.assert_allclose([slow for slow, _ in moves], [0, 0, 0, 0.005, 0.01], rtol=1e-4, atol=1e-7)


def test_an_encoder_that_would_never_learn_is_refused():
    with pytest.raises(ValueError, match="frozen_epochs must be fewer than epochs"):
        tuning.EndToEndConfig(epochs=2, frozen_epochs=2)


def test_what_only_gets_worse_stays_as_it_came(photos, tmp_path):
    sight = make_sight()
    before = [weight.copy() for weight in sight.decoder.get_weights()]
    history = train(sight, make_batches(photos), tmp_path, [9.0, 2.0, 3.0])
    assert len(history) == 3
    for old, new in zip(before, sight.decoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_captions_are_written_by_the_running_average(photos, tmp_path):
    sight, seen = make_sight(), []

    def score():
        seen.append(np.array(sight.decoder.classifier.kernel))
        return {"cider_d": float(len(seen))}

    end_to_end.train_end_to_end(
        sight,
        make_batches(photos),
        score,
        tmp_path,
        settings=dataclasses.replace(SETTINGS, averaging=0.5, epochs=2, frozen_epochs=0),
        description={},
        progress=False,
    )
    # One step an epoch: the average begins with the first step's weights, and the best is what was scored last.
    with np.load(tmp_path / "state.npz") as state:
        trained = next(state[key] for key in state.files if state[key].shape == seen[0].shape)
    np.testing.assert_allclose(seen[2], (seen[1] + trained) / 2, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(sight.decoder.classifier.kernel, seen[2])


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(photos, tmp_path):
    whole, stopped = make_sight(dropout=0.5), make_sight(dropout=0.5)
    expected = train(whole, make_batches(photos), tmp_path / "whole", [1.0, 2.0, 3.0])
    with pytest.raises(StopIteration):
        train(stopped, make_batches(photos), tmp_path / "stopped", [1.0, 2.0])
    again = make_sight(5, dropout=0.5)
    found = train(again, make_batches(photos), tmp_path / "stopped", [3.0])
    assert [row["loss"] for row in found] == [row["loss"] for row in expected]
    for ours, theirs in zip(again.decoder.get_weights(), whole.decoder.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="holds another training run"):
        end_to_end.train_end_to_end(
            again,
            make_batches(photos),
            dict,
            tmp_path / "stopped",
            settings=SETTINGS,
            description={"of": "others"},
            progress=False,
        )
