"""The decoder at toy size: V=11, U=4, P=6, R=3, D=5, B=2, T=5."""

import itertools

import keras
import numpy as np
import pytest

from captioner import config
from captioner.decoder import network, steps
from captioner.decoder.attention import AdditiveAttention
from captioner.decoder.word_detector import WordDetector

V, U, P, R, D, B, T = 11, 4, 6, 3, 5, 2, 5
VARIANTS = list(itertools.product(("regions", "slots"), ("inside", "after")))


def build(attend_to="regions", attention="inside", dropout=0.0):
    settings = config.DecoderConfig(
        attend_to=attend_to, attention=attention, units=U, embedding_size=3, attention_size=7, memory_size=8,
        num_slots=2, dropout=dropout,
    )  # fmt: skip
    return network.CaptionDecoder(V, P, R, D, settings)


def test_attention_compares_in_as_many_numbers_as_are_asked_for(inputs):
    *_, keys = build().start(inputs["pooled"], inputs["regions"])
    assert keys.shape == (B, R + 1, 7)


@pytest.fixture
def inputs():
    random = np.random.default_rng(0)
    return {
        "pooled": random.normal(size=(B, P)).astype(np.float32),
        "regions": random.normal(size=(B, R, D)).astype(np.float32),
        "input_ids": random.integers(4, V, size=(B, T)).astype(np.int32),
    }


def to_numpy(*tensors):
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


def test_additive_attention_equals_numbers_worked_out_by_hand():
    layer = AdditiveAttention(1)
    layer.build((1, 1, 1), (1, 2, 2))
    # query 1 * 0.5 + 0.1 = 0.6; keys are the first column, 0.2 and -0.4; v = 2.
    layer.set_weights([np.array([[0.5]]), np.array([0.1]), np.array([[1.0], [0.0]]), np.array([[2.0]])])
    memory = np.array([[[0.2, 3.0], [-0.4, 5.0]]], np.float32)
    context, scores = to_numpy(*layer(np.array([[[1.0]]], np.float32), memory, layer.project_keys(memory)))
    # energies 2 tanh(0.8) = 1.328074 and 2 tanh(0.2) = 0.394751, softmax 0.717753 and 0.282247
    np.testing.assert_allclose(scores, [[[0.717753, 0.282247]]], atol=1e-5)
    np.testing.assert_allclose(context, [[[0.030652, 3.564493]]], atol=1e-5)
    # Energies of 133 and 39, of which one overflows.
    layer.scorer.set_weights([np.array([[200.0]])])
    _, scores = to_numpy(*layer(np.array([[[1.0]]], np.float32), memory, layer.project_keys(memory)))
    np.testing.assert_allclose(scores, [[[1.0, 0.0]]], atol=1e-6)


def test_one_photo_is_attended_to_as_among_others():
    keras.utils.set_random_seed(0)
    layer, random = AdditiveAttention(4), np.random.default_rng(0)
    layer.build((None, 3, 5), (None, 6, 7))
    query, memory = random.normal(size=(2, 3, 5)), random.normal(size=(2, 6, 7))
    both, alone = (
        to_numpy(*layer(query[:count], memory[:count], layer.project_keys(memory[:count]))) for count in (2, 1)
    )
    for among, single in zip(both, alone, strict=True):
        np.testing.assert_allclose(among[:1], single, rtol=1e-5)


def test_positions_tell_which_region_shows_what(inputs):
    grid = np.random.default_rng(1).normal(size=(B, 4, D)).astype(np.float32)
    sizes = {"units": U, "embedding_size": 3, "attention_size": 7, "memory_size": 8}
    for positions in (False, True):
        model = network.CaptionDecoder(V, P, 4, D, config.DecoderConfig(positions=positions, dropout=0.0, **sizes))
        [there] = to_numpy(model(inputs | {"regions": grid}))
        # The grid of 2 x 2 and its mirror image.
        [mirrored] = to_numpy(model(inputs | {"regions": grid[:, [1, 0, 3, 2]]}))
        assert np.allclose(there, mirrored, atol=1e-5) is not positions


def test_a_picture_and_its_mirror_image_get_different_words_for_the_side():
    # One thing on the left or right of a grid of 2 x 2, the same picture otherwise; word 5 is "left", 6 is "right".
    keras.utils.set_random_seed(0)
    thing, ground = np.ones(D, np.float32) * [1, -1, 1, -1, 2], np.zeros(D, np.float32)
    pictures = {
        "pooled": np.zeros((2, P), np.float32),
        "regions": np.array([[thing, ground] * 2, [ground, thing] * 2], np.float32),
        "input_ids": np.array([[4], [4]], np.int32),
    }
    sizes = {"units": U, "embedding_size": 3, "attention_size": 7, "memory_size": 8, "dropout": 0.0}
    model = network.CaptionDecoder(V, P, 4, D, config.DecoderConfig(positions=True, **sizes))
    model.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pictures, np.array([[5], [6]]), epochs=60, verbose=0)
    [logits] = to_numpy(model(pictures))
    assert logits[:, 0].argmax(axis=-1).tolist() == [5, 6]


def test_positions_are_row_and_column_as_long_as_what_a_region_shows():
    places = network._locate_regions(4, 18)
    # Of 18 numbers of variance 1 half the square length is 9, so 3 for the row and 3 for the column.
    np.testing.assert_array_equal(places, [[3, 0, 3, 0], [3, 0, 0, 3], [0, 3, 3, 0], [0, 3, 0, 3]])


def test_positions_need_a_square_grid():
    with pytest.raises(ValueError, match="positions need a square grid of regions. Received: num_regions=3"):
        network.CaptionDecoder(V, P, R, D, config.DecoderConfig(positions=True))


def test_a_decoder_of_before_there_were_positions_has_none():
    old = build().get_config()
    del old["decoder_config"]["positions"]
    assert network.CaptionDecoder.from_config(old).settings.positions is False


def test_query_and_keys_are_compared_in_as_many_numbers_as_decided():
    # U x 7 and its bias, M x 7, and 7 x 1.
    assert [weight.shape for weight in build().attention.weights] == [(U, 7), (7,), (8, 7), (7, 1)]


@pytest.mark.parametrize(("attend_to", "attention"), VARIANTS)
def test_whole_captions_and_single_steps_give_the_same_logits(inputs, attend_to, attention):
    model = build(attend_to, attention)
    logits, scores = to_numpy(*model.call_with_attention(inputs))
    states, memory, keys = model.start(inputs["pooled"], inputs["regions"])
    for t in range(T):
        step_logits, step_scores, states = model.step(inputs["input_ids"][:, t], states, memory, keys)
        np.testing.assert_allclose(step_logits, logits[:, t], atol=1e-5)
        np.testing.assert_allclose(step_scores, scores[:, t], atol=1e-5)


@pytest.mark.parametrize(("attend_to", "attention"), VARIANTS)
def test_several_hypotheses_look_at_one_memory_as_each_would_at_its_own(inputs, attend_to, attention):
    model = build(attend_to, attention)
    states, memory, keys = model.start(inputs["pooled"], inputs["regions"])
    token_ids = np.array([4, 5, 6, 7, 8, 9], np.int32)
    random = np.random.default_rng(1)
    states = [random.normal(size=(3 * B, U)).astype(np.float32) for _ in states]
    together = to_numpy(*model.step(token_ids, states, memory, keys)[:2])
    repeated = (keras.ops.repeat(array, 3, axis=0) for array in (memory, keys))
    apart = to_numpy(*model.step(token_ids, states, *repeated)[:2])
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("attend_to", "attention"), VARIANTS)
def test_attention_sums_to_one_over_all_tokens(inputs, attend_to, attention):
    _, scores = to_numpy(*build(attend_to, attention).call_with_attention(inputs))
    assert scores.shape == (B, T, (R if attend_to == "regions" else 2) + 1)
    np.testing.assert_allclose(scores.sum(axis=-1), np.ones((B, T)), atol=1e-5)


@pytest.mark.parametrize("attention", ["inside", "after"])
def test_changing_one_region_changes_the_logits_of_that_photo_alone(inputs, attention):
    model = build(attention=attention)
    before = keras.ops.convert_to_numpy(model(inputs))
    changed = inputs["regions"].copy()
    changed[0, 1] = -changed[0, 1]
    after = keras.ops.convert_to_numpy(model(inputs | {"regions": changed}))
    assert np.abs(after[0] - before[0]).max() > 1e-3
    np.testing.assert_array_equal(after[1], before[1])


def test_slots_look_at_pooled_alone(inputs):
    model = build("slots")
    before = keras.ops.convert_to_numpy(model(inputs))
    np.testing.assert_array_equal(model(inputs | {"regions": inputs["regions"] * 0}), before)
    assert np.abs(keras.ops.convert_to_numpy(model(inputs | {"pooled": -inputs["pooled"]})) - before).max() > 1e-3


@pytest.mark.parametrize("attention", ["inside", "after"])
def test_later_words_do_not_change_earlier_logits(inputs, attention):
    model = build(attention=attention)
    before = keras.ops.convert_to_numpy(model(inputs))
    changed = inputs["input_ids"].copy()
    changed[:, 3] = 4 + (changed[:, 3] - 3) % (V - 4)
    after = keras.ops.convert_to_numpy(model(inputs | {"input_ids": changed}))
    np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-6)
    assert np.abs(after[:, 3] - before[:, 3]).max() > 1e-4


@pytest.mark.parametrize(("attend_to", "attention"), VARIANTS)
def test_every_weight_gets_a_gradient(inputs, attend_to, attention):
    import tensorflow as tf

    model = build(attend_to, attention)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs, training=True) ** 2)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.abs(tf.convert_to_tensor(gradient).numpy()).max() > 0, variable.path


@pytest.mark.parametrize(("attend_to", "attention"), VARIANTS)
def test_saving_and_loading_gives_equal_logits(inputs, tmp_path, attend_to, attention):
    model = build(attend_to, attention)
    model.save(tmp_path / "decoder.keras")
    loaded = keras.saving.load_model(tmp_path / "decoder.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert loaded.settings == model.settings


def test_dropout_acts_in_training_only(inputs):
    model = build(dropout=0.5)
    logits = [keras.ops.convert_to_numpy(model(inputs, training=training)) for training in (False, False, True)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.abs(logits[2] - logits[0]).max() > 1e-3


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("attend_to", "attention"), VARIANTS)
def test_steps_of_beams_follow_the_beams_they_continue(inputs, attend_to, attention, frozen):
    model = build(attend_to, attention)
    for weight in model.trainable_variables:  # Biases, too, which are zeros in a fresh decoder.
        weight.assign(np.random.default_rng(weight.shape[-1]).normal(size=weight.shape))
    decoder_step = steps.DecoderStep(model, frozen=frozen)
    state = decoder_step.start(inputs["pooled"], inputs["regions"], 2)
    _, _, state = decoder_step.step(np.array([[4, 5], [6, 7]], np.int32), np.array([[0, 1], [0, 1]], np.int32), state)
    # The second beam of the first photo and the first of the second go on.
    parents = np.array([[1, 1], [0, 0]], np.int32)
    log_probs, scores, _ = decoder_step.step(np.array([[8, 8], [9, 9]], np.int32), parents, state)
    ids = np.array([[5, 8], [6, 9]], np.int32)
    logits, expected = to_numpy(*model.call_with_attention(inputs | {"input_ids": ids}))
    log_softmax = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    for beam in range(2):
        np.testing.assert_allclose(log_probs[:, beam], log_softmax[:, 1], atol=1e-5)
        np.testing.assert_allclose(scores[:, beam], expected[:, 1], atol=1e-5)


def test_a_decoder_that_is_not_frozen_is_searched_with_the_weights_it_has_by_then(inputs):
    model = build()
    decoder_step, later = steps.DecoderStep(model), build()
    model.set_weights([weight + 1 for weight in later.get_weights()])
    token_ids, parents = np.array([[4], [6]], np.int32), np.zeros((2, 1), np.int32)
    found, _, _ = decoder_step.step(token_ids, parents, decoder_step.start(inputs["pooled"], inputs["regions"], 1))
    logits = to_numpy(model(inputs | {"input_ids": token_ids}))[0][:, 0]
    np.testing.assert_allclose(found[:, 0], logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)), atol=1e-5)


def test_what_starts_a_search_knows_the_number_of_beams_and_is_compiled_once_for_it(inputs):
    decoder_step = steps.DecoderStep(build())
    for num_beams in (2, 3, 2):
        hidden, cell, *_ = decoder_step.start(inputs["pooled"], inputs["regions"], num_beams)
        assert hidden.shape == cell.shape and hidden.shape[1] == num_beams
        for array in (hidden, cell):
            np.testing.assert_array_equal(array, np.repeat(array[:, :1], num_beams, axis=1))
    assert [start.experimental_get_tracing_count() for start in decoder_step._starts.values()] == [1, 1]


def test_words_that_a_photo_calls_for_are_likelier_in_every_beam(inputs):
    model, random = build(), np.random.default_rng(0)
    pooled, regions = inputs["pooled"], inputs["regions"]
    size, count = pooled.shape[-1] + regions.shape[-1], model.sizes["vocabulary_size"]
    shared, kernel = (random.normal(size=shape).astype(np.float32) for shape in ((size, 3), (3, 2)))
    detector = WordDetector(np.array([5, 7], np.int32), shared, kernel, np.zeros(2, np.float32), count)
    decoder_step, plain = steps.DecoderStep(model, detector), steps.DecoderStep(model)
    token_ids, parents = np.array([[4, 5], [6, 7]], np.int32), np.array([[0, 1], [0, 1]], np.int32)
    grounded, _, state = decoder_step.step(token_ids, parents, decoder_step.start(pooled, regions, 2, 0.5))
    usual, _, _ = plain.step(token_ids, parents, plain.start(pooled, regions, 2))
    weighed = np.exp(usual) * np.exp(0.5 * to_numpy(detector.log_probs(pooled, regions))[0])[:, None]
    np.testing.assert_allclose(np.exp(grounded), weighed / weighed.sum(axis=-1, keepdims=True), rtol=1e-4)
    # It stays with the photo from step to step.
    assert len(state) == len(decoder_step.start(pooled, regions, 2)) + 1
    ungrounded, _, _ = decoder_step.step(token_ids, parents, decoder_step.start(pooled, regions, 2))
    np.testing.assert_array_equal(ungrounded, usual)
    with pytest.raises(
        ValueError, match="has no word detector. Search with detector_weight=0. Received: detector_weight=0.5"
    ):
        plain.start(pooled, regions, 2, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attend_to": "words"}, "attend_to must be one of .* Received: attend_to='words'"),
        ({"attention": "before"}, "attention must be one of .* Received: attention='before'"),
        ({"units": 0}, "units must be at least 1. Received: units=0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\). Received: dropout=1.0"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        config.DecoderConfig(**change)
