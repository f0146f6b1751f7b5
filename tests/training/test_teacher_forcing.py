"""Loss, batches and runs at toy size."""

import csv
import shutil

import keras
import numpy as np
import pytest

from captioner import config, files, inference
from captioner.data.vocabulary import SPECIAL_WORDS, Vocabulary
from captioner.decoder import batches, losses
from captioner.decoder.network import CaptionDecoder
from captioner.training import run_files, teacher_forcing

VOCABULARY = Vocabulary([*SPECIAL_WORDS, "a", "red", "blue", "circle", "square"])
PHOTOS = {"1.jpg": "a red circle", "2.jpg": "a blue circle", "3.jpg": "a red square", "4.jpg": "a blue square"}
CAPTIONS = [(i, text) for i, text in PHOTOS.items() for text in (text, text.removeprefix("a "))]
SETTINGS = config.TrainingConfig(epochs=3, batch_size=2, warmup_steps=2, learning_rate=0.01)


class ToyFeatures:
    """Stands in for a `FeatureStore`: one row for each photo."""

    def __init__(self):
        random = np.random.default_rng(1)
        self.pooled = random.normal(size=(4, 6)).astype(np.float16)
        self.regions = random.normal(size=(4, 3, 5)).astype(np.float16)

    def row_numbers(self, image_ids):
        return np.array([list(PHOTOS).index(image_id) for image_id in image_ids])


def make_batches(**options):
    return batches.CaptionBatches(CAPTIONS, ToyFeatures(), VOCABULARY, **{"batch_size": 2, **options})


def spell(ids):
    """Returns the words of a row of target ids."""
    return " ".join(VOCABULARY.words[i] for i in ids if i not in (VOCABULARY.pad_id, VOCABULARY.end_id))


def make_decoder(dropout=0.3):
    keras.utils.set_random_seed(5)
    settings = config.DecoderConfig(units=8, embedding_size=4, attention_size=4, memory_size=8, dropout=dropout)
    return CaptionDecoder(len(VOCABULARY), 6, 3, 5, settings)


def test_loss_and_perplexity_equal_numbers_worked_out_by_hand():
    # Probabilities 1/2 and 1/4 of the targets; the third place is padding and counts nothing.
    probabilities = np.array([[[0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]])
    targets, logits = np.array([[1, 2, 0]]), np.log(probabilities).astype(np.float32)
    # (log 2 + log 4) / 2 = 1.039721
    assert float(losses.CaptionLoss()(targets, logits)) == pytest.approx(1.039721, abs=1e-5)
    # Mean over V of -log p: (log 4 + log 2 + log 4) / 3 = 1.155245 at both places: 0.9 * 1.039721 + 0.1 * 1.155245
    assert float(losses.CaptionLoss(0.1)(targets, logits)) == pytest.approx(1.051273, abs=1e-5)
    perplexity = losses.Perplexity()
    perplexity.update_state(targets, logits)
    # exp(1.039721) = 2 ** 1.5
    assert float(perplexity.result()) == pytest.approx(2.828427, abs=1e-4)


def test_loss_of_nothing_but_padding_is_zero():
    assert float(losses.CaptionLoss(0.1)(np.zeros((1, 2)), np.ones((1, 2, 5), np.float32))) == 0


class ToyCrops(ToyFeatures):
    """Two crops of each photo, whose `pooled` says which photo and crop it is of."""

    def __init__(self):
        self.image_ids = [f"{image_id}#{number}" for image_id in PHOTOS for number in range(2)]
        self.pooled = np.array([[10 * n // 2 * 2 + n % 2] * 6 for n in range(8)], np.float16)
        self.regions = np.zeros((8, 3, 5), np.float16)

    def row_numbers(self, image_ids):
        return np.array([self.image_ids.index(image_id) for image_id in image_ids])


def test_captions_come_with_crops_of_their_own_photo_in_the_share_asked_for():
    for share, allowed in ((0.0, {"whole"}), (1.0, {"crop"}), (0.5, {"whole", "crop"})):
        seen = set()
        for number in range(20):
            mixed = make_batches(crops=ToyCrops(), crop_share=share).epoch(number)
            plain = make_batches().epoch(number)
            for (inputs, targets), (expected, same_targets) in zip(mixed, plain, strict=True):
                np.testing.assert_array_equal(targets, same_targets)
                for pooled, photo in zip(inputs["pooled"], expected["pooled"], strict=True):
                    row = np.flatnonzero((ToyFeatures().pooled == photo).all(axis=1))[0]
                    is_whole = (pooled == photo).all()
                    assert is_whole or pooled[0] in ToyCrops().pooled[2 * row : 2 * row + 2, 0]
                    seen.add("whole" if is_whole else "crop")
        assert seen == allowed


def test_targets_are_inputs_shifted_by_one_and_padded_on_the_right():
    inputs, target_ids = next(make_batches(batch_size=8).epoch(0, shuffle=False))
    a, red, circle = VOCABULARY.encode("a red circle")
    row = int(np.argmax((inputs["input_ids"] == [VOCABULARY.start_id, a, red, circle]).all(axis=1)))
    assert list(target_ids[row]) == [a, red, circle, VOCABULARY.end_id]
    short = int(np.argmax(inputs["input_ids"][:, 1] == red))
    assert list(inputs["input_ids"][short]) == [VOCABULARY.start_id, red, circle, VOCABULARY.pad_id]
    assert list(target_ids[short]) == [red, circle, VOCABULARY.end_id, VOCABULARY.pad_id]


def test_a_caption_comes_with_the_features_of_its_photo():
    features = ToyFeatures()
    for inputs, target_ids in make_batches().epoch(0):
        for row, ids in enumerate(target_ids):
            text = spell(ids)
            photo = next(n for n, whole in enumerate(PHOTOS.values()) if whole.endswith(text))
            np.testing.assert_array_equal(inputs["regions"][row], features.regions[photo])
            np.testing.assert_array_equal(inputs["pooled"][row], features.pooled[photo])


def test_an_epoch_holds_every_caption_once():
    texts = [spell(ids) for _, target_ids in make_batches().epoch(3) for ids in target_ids]
    assert sorted(texts) == sorted(text for _, text in CAPTIONS)


def test_batches_hold_captions_of_like_length():
    for inputs, _ in make_batches().epoch(0):
        assert not (inputs["input_ids"] == VOCABULARY.pad_id).any()


def test_seed_and_epoch_alone_decide_the_order():
    def order(seed, epoch):
        return [ids.tolist() for _, ids in make_batches(seed=seed).epoch(epoch)]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_a_caption_too_long_loses_its_tail_and_its_end_marker():
    long = batches.CaptionBatches([("1.jpg", "a red circle a red circle")], ToyFeatures(), VOCABULARY, max_length=4)
    [(inputs, target_ids)] = long.epoch(0)
    assert spell(target_ids[0]) == "a red circle a"
    assert inputs["input_ids"].shape == (1, 4)
    assert VOCABULARY.end_id not in target_ids


def test_no_captions_are_refused():
    with pytest.raises(ValueError, match="There are no captions to train on"):
        batches.CaptionBatches([], ToyFeatures(), VOCABULARY)


def train(run_dir, scores, *, settings=SETTINGS, decoder=None, description=None):
    """Trains with validation scores that are given in advance, one for each epoch."""
    decoder = decoder or make_decoder()
    given = iter(scores)
    history = teacher_forcing.train_decoder(
        decoder, make_batches(), make_batches(), lambda _: {"cider_d": next(given)}, run_dir,
        settings=settings, description=description, verbose=0,
    )  # fmt: skip
    return decoder, history


def test_training_learns_and_writes_its_history(tmp_path):
    settings = config.TrainingConfig(epochs=25, batch_size=2, learning_rate=0.03, patience=25, label_smoothing=0.0)
    decoder, history = train(tmp_path, range(25), settings=settings, decoder=make_decoder(dropout=0.0))
    assert history[-1]["val_perplexity"] < 2 < history[0]["val_perplexity"]
    with open(tmp_path / "history.csv", newline="") as file:
        assert [float(row["val_loss"]) for row in csv.DictReader(file)] == [row["val_loss"] for row in history]
    # It says of each photo what people said, and something else when it gets another photo's features.
    captioner, features = inference.Captioner(decoder, VOCABULARY, encoder=None), ToyFeatures()
    for shift, expected in ((0, 4), (1, 0)):
        views = (np.roll(view, shift, axis=0) for view in (features.pooled, features.regions))
        captions = [found[0].text for found in captioner.caption_features(*views)]
        assert sum(whole.endswith(text) for whole, text in zip(PHOTOS.values(), captions, strict=True)) == expected
    # Trained attention is not constant over regions.
    inputs, _ = next(make_batches(batch_size=8).epoch(0, shuffle=False))
    scores = keras.ops.convert_to_numpy(decoder.call_with_attention(inputs)[1])
    assert scores.std(axis=-1).max() > 0.01


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three epochs, the second of which was the best: its folder, decoder and history. Do not change it."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    return folder, *train(folder, [1.0, 9.0, 2.0])


def test_the_best_epoch_is_kept_not_the_last(finished):
    folder, decoder, history = finished
    assert run_files.best_row(history)["epoch"] == 2
    best = make_decoder()
    best.load_weights(folder / "best.weights.h5")
    for got, expected in zip(decoder.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
    last = keras.saving.load_model(folder / "epoch-003.keras")
    assert not np.array_equal(last.get_weights()[0], decoder.get_weights()[0])


def test_training_stops_when_it_gets_no_better(tmp_path):
    settings = config.TrainingConfig(epochs=10, batch_size=2, patience=2)
    _, history = train(tmp_path, [1.0, 5.0, 4.0, 3.0, 99.0], settings=settings)
    assert [row["val_cider_d"] for row in history] == [1.0, 5.0, 4.0, 3.0]
    # The same call again finds the run finished and leaves it so.
    _, again = train(tmp_path, [], settings=settings)
    assert again == history


class Killed(Exception):
    pass


def killed_after(scores):
    yield from scores
    raise Killed


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(finished, tmp_path):
    folder, whole, history = finished
    with pytest.raises(Killed):
        train(tmp_path, killed_after([1.0]))
    resumed, resumed_history = train(tmp_path, [9.0, 2.0])
    for got, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    assert [row["loss"] for row in resumed_history] == pytest.approx([row["loss"] for row in history], abs=1e-5)
    for run in (folder, tmp_path):
        last = keras.saving.load_model(run / "epoch-003.keras")
        assert int(last.optimizer.iterations) == 3 * make_batches().num_batches


def test_an_epoch_without_its_checkpoint_never_happened(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "torn")
    file = tmp_path / "torn" / "history.csv"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([*rows, rows[-1]]) + "\n")
    _, history = train(tmp_path / "torn", [])
    assert [row["epoch"] for row in history] == [1, 2, 3]


@pytest.mark.parametrize("damage", ["cut short", "empty", "noise"])
@pytest.mark.parametrize("name", ["run.json", "history.csv", "epoch-003.keras", "best.weights.h5"])
def test_a_damaged_run_says_which_file_and_what_to_do(finished, tmp_path, name, damage):
    run = shutil.copytree(finished[0], tmp_path / "run")
    content = (run / name).read_bytes()
    noise = np.random.default_rng(0).bytes(len(content))
    (run / name).write_bytes({"cut short": content[: len(content) // 2], "empty": b"", "noise": noise}[damage])
    with pytest.raises(ValueError, match=rf"{name} is damaged. Delete the folder .*run and train again.") as caught:
        train(run, [])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["history.csv", "best.weights.h5"])
def test_a_run_that_lacks_a_file_says_which(finished, tmp_path, name):
    run = shutil.copytree(finished[0], tmp_path / "run")
    (run / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is damaged. Delete the folder .*run and train again."):
        train(run, [])


def test_no_file_of_a_run_is_written_in_place(tmp_path, monkeypatch):
    written, replace_file = [], files.replace_file

    def note(path):
        written.append(path.name)
        return replace_file(path)

    monkeypatch.setattr(files, "replace_file", note)
    train(tmp_path, [1.0, 2.0, 0.5])
    # Epoch 3 was no better, so its weights are not the best.
    epochs = [["best.weights.h5", "history.csv", "epoch-001.keras"], ["best.weights.h5", "history.csv"]]
    assert written == ["run.json", *epochs[0], *epochs[1], "epoch-002.keras", "history.csv", "epoch-003.keras"]


def test_the_run_of_something_else_is_not_gone_on_with(tmp_path, monkeypatch):
    def kill(*_, **__):
        raise Killed

    monkeypatch.setattr(CaptionDecoder, "fit", kill)
    for _ in range(2):
        with pytest.raises(Killed):
            train(tmp_path, [], description={"data": "one"})
    with pytest.raises(ValueError, match="holds another training run. Delete that folder or name another one"):
        train(tmp_path, [], description={"data": "two"})


def test_the_learning_rate_warms_up_and_falls_to_its_last_fraction():
    decoder = make_decoder()
    settings = config.TrainingConfig(epochs=10, learning_rate=1e-3, warmup_steps=20, final_learning_rate_fraction=0.02)
    teacher_forcing.compile_decoder(decoder, settings, steps_per_epoch=10)
    schedule = decoder.optimizer._learning_rate
    assert float(schedule(20)) == pytest.approx(1e-3)
    assert float(schedule(0)) < 1e-4
    assert float(schedule(100)) == pytest.approx(2e-5)


def test_weights_decay_but_no_bias_does():
    decoder = make_decoder()
    settings = config.TrainingConfig(epochs=1, learning_rate=0.1, warmup_steps=0, weight_decay=0.5)
    teacher_forcing.compile_decoder(decoder, settings, steps_per_epoch=10)
    variables = decoder.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    rate = float(decoder.optimizer._learning_rate(0))
    # Without a gradient Adam stays where it is.
    decoder.optimizer.apply([np.zeros(variable.shape, np.float32) for variable in variables], variables)
    biases = [variable for variable in variables if "bias" in variable.name]
    assert 0 < len(biases) < len(variables)
    for variable in variables:
        expected = 1.0 if "bias" in variable.name else 1 - rate * 0.5
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6, err_msg=variable.path)


def test_gradients_are_clipped_by_their_norm_together():
    decoder = make_decoder()
    settings = config.TrainingConfig(epochs=1, clip_norm=2.0)
    teacher_forcing.compile_decoder(decoder, settings, steps_per_epoch=10)
    gradients = [np.full(variable.shape, 3.0, np.float32) for variable in decoder.trainable_variables]
    clipped = decoder.optimizer._clip_gradients(gradients)
    assert np.sqrt(sum(float(np.sum(np.square(gradient))) for gradient in clipped)) == pytest.approx(2.0, rel=1e-5)
