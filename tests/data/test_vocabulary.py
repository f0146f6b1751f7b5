"""Words and ids: what is known, what is not, and the way to a file and back."""

import json

import pytest

from captioner.data import datasets
from captioner.data.vocabulary import SPECIAL_WORDS, Vocabulary

CAPTIONS = ("a dog runs", "a dog sleeps", "a cat sleeps", "the dog")


@pytest.fixture
def vocabulary():
    return Vocabulary.from_captions(CAPTIONS, min_count=2)


def test_special_words_have_the_first_ids(vocabulary):
    assert (vocabulary.pad_id, vocabulary.unknown_id, vocabulary.start_id, vocabulary.end_id) == (0, 1, 2, 3)
    assert vocabulary.words[:4] == SPECIAL_WORDS == ("<pad>", "<unk>", "<start>", "<end>")


def test_words_come_by_falling_count_and_then_by_alphabet():
    # a 3, dog 3, sleeps 2, cat 1, runs 1, the 1.
    words = Vocabulary.from_captions(CAPTIONS, min_count=1).words
    assert words[4:] == ("a", "dog", "sleeps", "cat", "runs", "the")


def test_ids_do_not_depend_on_the_order_of_captions():
    assert Vocabulary.from_captions(reversed(CAPTIONS), 1).words == Vocabulary.from_captions(CAPTIONS, 1).words


def test_rare_words_are_left_out(vocabulary):
    assert vocabulary.words[4:] == ("a", "dog", "sleeps")
    assert len(vocabulary) == 7


def test_five_times_is_the_default():
    assert Vocabulary.from_captions(["dog"] * 5 + ["cat"] * 4).words[4:] == ("dog",)


def test_encoding_writes_ids_without_markers(vocabulary):
    # a 4, dog 5, sleeps 6; "cat" is not known.
    assert vocabulary.encode("a cat sleeps") == [4, 1, 6]
    assert vocabulary.encode("") == []


def test_no_caption_can_spell_a_special_word(vocabulary):
    assert vocabulary.encode("start end pad unk") == [vocabulary.unknown_id] * 4


def test_saving_and_loading_keeps_every_id(tmp_path):
    vocabulary = Vocabulary.from_captions(["caf\u00e9 \u72d7 a"], min_count=1)
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json").words == vocabulary.words
    assert json.loads((tmp_path / "vocabulary.json").read_text(encoding="utf-8"))["words"][4:] == [
        "a",
        "caf\u00e9",
        "\u72d7",
    ]


def test_too_few_words_are_refused():
    with pytest.raises(ValueError, match="No word occurs 5 times in the captions. Give more .* Received: 6 words."):
        Vocabulary.from_captions(CAPTIONS, min_count=5)
    with pytest.raises(ValueError, match="No word occurs 1 times .*Received: 0 words."):
        Vocabulary.from_captions([], min_count=1)


def test_words_without_the_special_ones_in_front_are_refused():
    with pytest.raises(ValueError, match=r"must begin with \('<pad>', .*Received: words=\['a', 'dog'\]"):
        Vocabulary(["a", "dog"])


def test_a_word_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match=r"must hold each word once. Received twice: \['a'\]"):
        Vocabulary([*SPECIAL_WORDS, "a", "dog", "a"])


# None, two, a blank, what clears a terminal, half a letter.
NO_WORDS = (b"", b"two words", b"dog ", rb"\u001b[2J", rb"\ud800")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"format": 99, "words": []}',
        b'{"format": 1, "words": "abc"}',
        b'{"format": 1, "words": [["a"], 2]}',
        *(b'{"format": 1, "words": ["<pad>", "<unk>", "<start>", "<end>", "%b"]}' % word for word in NO_WORDS),
        b"\xff\xfe",
    ],
)
def test_a_broken_file_is_refused(tmp_path, content):
    (tmp_path / "vocabulary.json").write_bytes(content)
    with pytest.raises(
        ValueError, match="vocabulary.json is (damaged. Run model|not a vocabulary that this version can read. Train)"
    ):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="vocabulary.json"):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_drawn_captions_can_be_written_with_words_of_train(drawn_dir):
    dataset = datasets.read_dataset(drawn_dir)
    vocabulary = Vocabulary.from_captions((text for _, text in dataset.captions("train")), min_count=1)
    for _, text in dataset.captions("train"):
        assert " ".join(vocabulary.words[token_id] for token_id in vocabulary.encode(text)) == text


def test_the_real_vocabulary_comes_from_train_alone(flickr8k_dir):
    train = datasets.read_dataset(flickr8k_dir, ["train"])
    vocabulary = Vocabulary.from_captions(text for _, text in train.captions("train"))
    # 2,535 words and the special ones; any change of cleaning, counting or splits shows here.
    assert len(vocabulary) == 2539


def test_words_that_say_what_is_to_be_seen_are_said_once_and_take_words_for_the_same_thing_with_them():
    words = Vocabulary((*SPECIAL_WORDS, "a", "bike", "on", "the", "red", "bicycle"))
    assert words.said_once == {5: (5, 9), 8: (8,), 9: (5, 9)}
