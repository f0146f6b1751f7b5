"""Settings: what is suggested for an amount of captions."""

import dataclasses

import pytest

from captioner import config


def test_flickr8k_gets_the_defaults():
    assert config.suggest_training(30_000) == config.TrainingConfig()
    assert config.suggest_decoder(30_000) == config.DecoderConfig()


def test_few_captions_get_small_batches_and_many_epochs():
    few = config.suggest_training(1_800)
    assert few.batch_size < config.TrainingConfig.batch_size and few.epochs > config.TrainingConfig.epochs
    assert few.label_smoothing > config.TrainingConfig.label_smoothing


def test_few_captions_get_a_smaller_decoder_that_is_told_where_regions_lie():
    few, many = config.suggest_decoder(1_800), config.DecoderConfig()
    assert few.units < many.units and few.memory_size < many.memory_size
    assert few.positions and not many.positions
    assert config.suggest_decoder(1_800, units=7, dropout=None) == dataclasses.replace(few, units=7)


def test_what_is_decided_stands_and_none_leaves_it_open():
    chosen = config.suggest_training(1_800, epochs=3, batch_size=None, num_crops=0, seed=7)
    assert chosen == dataclasses.replace(config.suggest_training(1_800), epochs=3, num_crops=0, seed=7)


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="epoch"):
        config.suggest_training(1_800, epoch=3)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1. Received: num_beams=0"),
        ({"max_length": 0}, "max_length must be at least 1. Received: max_length=0"),
        ({"length_penalty": -0.5}, "length_penalty must be at least 0. Received: length_penalty=-0.5"),
        ({"length_penalty": float("nan")}, "length_penalty must be at least 0. Received: length_penalty=nan"),
        ({"no_repeat": -1}, "no_repeat must be at least 0. Received: no_repeat=-1"),
    ],
)
def test_a_search_out_of_range_is_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        config.DecodingConfig(**choice)
    assert config.DecodingConfig(num_beams=1, max_length=1, length_penalty=0, no_repeat=0).num_beams == 1


@pytest.mark.parametrize(
    ("text", "default", "kind", "expected"),
    [("7", 3, None, 7), ("0.5", 1.0, None, 0.5), ("7", None, int, 7), ("7", None, None, "7"), ("", 3, None, 3)],
)
def test_a_variable_is_converted_like_its_default(monkeypatch, text, default, kind, expected):
    monkeypatch.setenv("CAPTIONER_TEST", text)
    found = config.setting("CAPTIONER_TEST", default, kind)
    assert found == expected and type(found) is type(expected)
    monkeypatch.delenv("CAPTIONER_TEST")
    assert config.setting("CAPTIONER_TEST", default, kind) == default


def test_a_variable_that_is_no_such_number_is_refused(monkeypatch):
    monkeypatch.setenv("CAPTIONER_TEST", "many")
    with pytest.raises(ValueError, match="variable CAPTIONER_TEST must be a int. Received: CAPTIONER_TEST='many'"):
        config.setting("CAPTIONER_TEST", 3)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        *(("training", "epochs", 0), ("training", "batch_size", 0), ("training", "learning_rate", 0.0)),
        *(("training", "learning_rate", float("nan")), ("training", "crop_share", 1.5), ("training", "num_crops", -1)),
        *(("decoder", "units", 0), ("fine_tuning", "epochs", -1), ("fine_tuning", "encoder_learning_rate", -1.0)),
        *(("self_critical", "rounds", -1), ("self_critical", "num_samples", 1)),
    ],
)
def test_a_mistake_in_a_recipe_is_told_before_anything_is_read(kind, field, value):
    with pytest.raises(ValueError, match=rf"^{field} must .* Received: {field}={value!r}$"):
        config.RecipeConfig(**{kind: {field: value}})


@pytest.mark.parametrize(("field", "value"), [("photos", -5), ("seed", -1), ("min_count", 0)])
def test_numbers_of_a_recipe_have_a_least_value(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be at least .* Received: {field}={value}$"):
        config.RecipeConfig(**{field: value})


def test_one_seed_is_that_of_every_stage():
    recipe = config.RecipeConfig(seed=3)
    stages = recipe.suggest_training(100), recipe.suggest_fine_tuning(), recipe.suggest_self_critical()
    assert [stage.seed for stage in stages] == [3, 3, 3]


def test_all_encoders_but_the_compact_one_look_at_the_mirror_image_too_unless_they_are_told():
    assert [name for name in config.ENCODERS if config.is_mirrored(name)] == list(config.ENCODERS[:-1])
    assert config.is_mirrored("compact", True) and not config.is_mirrored("vgg16", False)
