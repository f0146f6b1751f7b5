"""Settings: what is suggested for an amount of captions."""

import dataclasses

import pytest

from captioner import config


def test_flickr8k_gets_the_defaults():
    assert config.suggest_training(30_000) == config.TrainingConfig()


def test_few_captions_get_small_batches_and_many_epochs():
    few = config.suggest_training(1_800)
    # 57 batches of 32, 32 times: about as many steps as 8 epochs of 235 batches of 128.
    assert (few.batch_size, few.epochs) == (32, 32)


def test_what_is_decided_stands_and_none_leaves_it_open():
    chosen = config.suggest_training(1_800, epochs=3, batch_size=None, num_crops=0, seed=7)
    assert chosen == dataclasses.replace(config.suggest_training(1_800), epochs=3, num_crops=0, seed=7)


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="epoch"):
        config.suggest_training(1_800, epoch=3)
