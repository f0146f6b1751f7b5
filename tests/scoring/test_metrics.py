"""Scores against numbers worked out by hand, independent code and the agreement of people on Flickr8k."""

import os
import re
import shutil
import warnings

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from captioner.data import datasets
from captioner.scoring import meteor, metrics

# The real one: other tests do without.
RUN_METEOR = meteor.run_meteor

CAPTIONS = {
    "1.jpg": "a dog runs on the green grass",
    "2.jpg": "two boys play football in a park",
    "3.jpg": "a man in a red hat sits on a bench",
}
REFERENCES = {
    "1.jpg": ["a brown dog runs on the grass", "a dog is running across a green field"],
    "2.jpg": ["two boys in a park play football", "children play football on the grass"],
    "3.jpg": ["a man sits on a bench", "an old man in a red hat is sitting on a bench"],
}
SCORES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider_d", "rouge_l")


def score_one(caption, *references):
    return metrics.score_captions({"1.jpg": caption}, {"1.jpg": references})


def coco_bleu(captions, references):
    scores, _ = Bleu(4).compute_score(
        {i: list(texts) for i, texts in references.items()}, {i: [captions[i]] for i in references}, verbose=0
    )
    return [100 * score for score in scores]


def bleu(scores):
    return [scores[f"bleu_{n}"] for n in (1, 2, 3, 4)]


def without_word_a(text):
    return " ".join(word for word in text.split() if word != "a")


def numpy_cider_d(captions, references):
    """CIDEr-D from the paper's formulas on dense count vectors, times 100."""
    scores = dict.fromkeys(captions, 0.0)
    for n in (1, 2, 3, 4):
        grams = {text: ngrams(text, n) for i in captions for text in (captions[i], *references[i])}
        index = {gram: row for row, gram in enumerate(sorted({g for found in grams.values() for g in found}))}
        seen = np.zeros(len(index))
        for texts in references.values():
            seen[[index[gram] for gram in {g for text in texts for g in grams[text]}]] += 1
        idf = np.log(len(references)) - np.log(np.maximum(seen, 1))
        for image_id, texts in references.items():
            vectors = [np.zeros(len(index)) for _ in (0, *texts)]
            for vector, text in zip(vectors, (captions[image_id], *texts), strict=True):
                np.add.at(vector, [index[gram] for gram in grams[text]], 1)
            hypothesis, *others = [vector * idf for vector in vectors]
            for text, other in zip(texts, others, strict=True):
                norm = np.linalg.norm(hypothesis) * np.linalg.norm(other)
                difference = len(captions[image_id].split()) - len(text.split())
                cosine = np.minimum(hypothesis, other) @ other / norm if norm else 0.0
                scores[image_id] += cosine * np.exp(-(difference**2) / (2 * 6**2)) / len(texts) / 4 * 10 * 100
    return scores


def ngrams(text, n):
    words = text.split()
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]


@pytest.fixture(scope="module")
def test_references():
    if not os.environ.get(datasets.DATA_VARIABLE):
        pytest.skip(f"needs the real Flickr8k: set {datasets.DATA_VARIABLE}")
    return datasets.read_dataset(splits=("test",)).references_of("test")


@pytest.fixture(scope="module")
def first_against_others(test_references):
    return (
        {image_id: texts[0] for image_id, texts in test_references.items()},
        {image_id: texts[1:] for image_id, texts in test_references.items()},
    )


def test_bleu_is_precision_times_brevity_penalty():
    scores = score_one("a dog runs on grass", "a dog runs on the green grass")
    # n-grams found: 5/5, 3/4, 2/3, 1/2. Five words for seven: exp(1 - 7/5) = 0.670320.
    # Geometric means: 1, sqrt(3/4) = 0.866025, cbrt(1/2) = 0.793701, (1/4)^(1/4) = 0.707107.
    assert bleu(scores) == pytest.approx([67.0320, 58.0514, 53.2034, 47.3988], abs=1e-3)


def test_bleu_clips_repeated_words():
    # "the" stands twice in the reference, so 2 of 4 count; longer than the reference, so no penalty.
    assert score_one("the the the the", "the cat the")["bleu_1"] == pytest.approx(50)


def test_bleu_takes_the_closest_reference_length_and_the_shorter_of_two():
    # Lengths 2 and 4 are equally close to 3. Against 4 words the penalty would be exp(1 - 4/3) = 0.72.
    assert score_one("a dog runs", "a dog runs fast", "a dog")["bleu_1"] == pytest.approx(100)


def test_bleu_sums_over_the_corpus_and_averages_no_sentences():
    captions = {"1.jpg": "the the the the", "2.jpg": "a dog"}
    scores = metrics.score_captions(captions, {"1.jpg": ["the cat the"], "2.jpg": ["a dog"]})
    # (2 + 2) / (4 + 2); the mean of 2/4 and 2/2 would be 75.
    assert scores["bleu_1"] == pytest.approx(66.6667, abs=1e-3)


def test_bleu_equals_the_coco_scorer():
    assert bleu(metrics.score_captions(CAPTIONS, REFERENCES)) == pytest.approx(
        coco_bleu(CAPTIONS, REFERENCES), abs=1e-5
    )


def test_rouge_l_weighs_recall_by_beta_1_2_and_takes_the_best_of_each():
    # With "a dog on the grass" 4 words are common: precision 4/5, recall 4/5. With "dog runs" 2: 2/5 and 2/2.
    # (1 + 1.44) * 0.8 * 1 / (1 + 1.44 * 0.8) = 1.952 / 2.152.
    scores = score_one("a dog runs on grass", "a dog on the grass", "dog runs")
    assert scores["rouge_l"] == pytest.approx(90.7063, abs=1e-3)


def test_cider_d_equals_the_paper_in_numpy():
    expected = numpy_cider_d(CAPTIONS, REFERENCES)
    assert min(expected.values()) > 50
    assert metrics.score_per_photo(CAPTIONS, REFERENCES) == pytest.approx(expected, rel=1e-9)


def test_cider_d_of_the_only_reference_itself_is_1000():
    references = {image_id: [caption] for image_id, caption in CAPTIONS.items()}
    assert metrics.score_captions(CAPTIONS, references)["cider_d"] == pytest.approx(1000)


def test_cider_d_of_a_single_photo_is_0():
    scores = score_one("a dog runs on grass", "a dog runs on grass")
    assert scores["cider_d"] == 0
    assert scores["bleu_4"] == pytest.approx(100)


def test_scores_per_photo_average_to_cider_d():
    scores = metrics.score_per_photo(CAPTIONS, REFERENCES)
    assert list(scores) == list(REFERENCES)
    assert np.mean(list(scores.values())) == pytest.approx(metrics.score_captions(CAPTIONS, REFERENCES)["cider_d"])


def test_the_order_of_photos_changes_nothing():
    turned = dict(reversed(CAPTIONS.items()))
    assert metrics.score_captions(turned, REFERENCES) == metrics.score_captions(CAPTIONS, REFERENCES)
    assert metrics.score_per_photo(turned, REFERENCES) == metrics.score_per_photo(CAPTIONS, REFERENCES)


def test_the_keys_are_in_the_promised_order_and_hold_plain_numbers():
    scores = metrics.score_captions(CAPTIONS, REFERENCES, train_captions=["a dog"])
    assert list(scores) == [
        "num_photos",
        "num_references",
        *SCORES,
        "distinct_captions",
        "words_used",
        "mean_length",
        "copied_from_train",
        "unknown_words",
    ]
    assert (scores["num_photos"], scores["num_references"]) == (3, 6)
    assert {type(scores[name]) for name in SCORES} == {float}
    assert {type(value) for value in scores.values()} == {int, float}


def test_counts_that_expose_false_progress():
    captions = {"1.jpg": "A dog runs .", "2.jpg": "a dog runs", "3.jpg": "a <unk> on a <unk> bench"}
    scores = metrics.score_captions(captions, REFERENCES, train_captions=("A dog , runs !", "a bench"))
    assert scores["distinct_captions"] == 2
    assert scores["words_used"] == 5  # a, dog, runs, on, bench
    assert scores["mean_length"] == 4  # (3 + 3 + 6) / 3
    assert scores["copied_from_train"] == pytest.approx(100 * 2 / 3)
    assert scores["unknown_words"] == 2


def test_copies_are_not_counted_without_train_captions():
    assert metrics.score_captions(CAPTIONS, REFERENCES)["copied_from_train"] is None


def test_an_unknown_word_counts_as_a_wrong_word():
    assert score_one("a dog <unk>", "a dog runs")["bleu_1"] == pytest.approx(100 * 2 / 3)


def test_both_sides_are_cleaned_alike():
    raw = {image_id: [f"{text.upper()} ." for text in texts] for image_id, texts in REFERENCES.items()}
    assert metrics.score_captions(CAPTIONS, raw) == metrics.score_captions(CAPTIONS, REFERENCES)


def test_the_word_a_counts():
    references = ["a dog sits in a field"]
    # Words 5/6, pairs "a dog", "in a", "a field" 3/5. Without "a": words 3/4, pairs "in field" 1/3.
    assert bleu(score_one("a dog runs in a field", *references))[:2] == pytest.approx([83.3333, 70.7107], abs=1e-3)
    dropped = score_one("dog runs in field", "dog sits in field")
    assert bleu(dropped)[:2] == pytest.approx([75, 50], abs=1e-3)


def test_captions_without_a_common_word_score_0_without_a_sound(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_one("zebras graze", "a dog runs on the grass")
    assert [scores[name] for name in SCORES] == [0] * 6
    assert capsys.readouterr() == ("", "")


def test_bleu_without_a_common_n_gram_is_0_and_not_smoothed(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_one("grass the on runs", "a dog runs on the grass")
    # Four of four words, no pair; four words for six: exp(1 - 6/4) = 0.606531.
    assert scores["bleu_1"] == pytest.approx(60.6531, abs=1e-3)
    assert bleu(scores)[1:] == [0, 0, 0]
    assert capsys.readouterr() == ("", "")


def test_an_empty_caption_is_allowed_and_scores_0():
    scores = metrics.score_captions(CAPTIONS | {"1.jpg": ""}, REFERENCES)
    assert metrics.score_per_photo(CAPTIONS | {"1.jpg": " . "}, REFERENCES)["1.jpg"] == 0
    assert 0 < scores["cider_d"] < metrics.score_captions(CAPTIONS, REFERENCES)["cider_d"]
    nothing = metrics.score_captions(dict.fromkeys(CAPTIONS, ""), REFERENCES, train_captions=["", "a dog"])
    assert [nothing[name] for name in (*SCORES, "mean_length", "copied_from_train")] == [0] * 8


def test_shuffled_captions_keep_none_in_place_and_lose_none():
    captions = {f"{n}.jpg": f"caption {n}" for n in range(50)}
    for seed in range(20):
        shuffled = metrics.shuffle_captions(captions, seed)
        assert list(shuffled) == list(captions)
        assert sorted(shuffled.values()) == sorted(captions.values())
        assert all(shuffled[image_id] != captions[image_id] for image_id in captions)


def test_a_shuffle_depends_on_the_seed_alone():
    captions = {f"{n}.jpg": f"caption {n}" for n in range(50)}
    assert metrics.shuffle_captions(captions, 1) == metrics.shuffle_captions(dict(reversed(captions.items())), 1)
    assert metrics.shuffle_captions(captions, 1) != metrics.shuffle_captions(captions, 2)


def test_shuffling_collapses_cider_d():
    shuffled = metrics.shuffle_captions(CAPTIONS, 0)
    score = metrics.score_captions(CAPTIONS, REFERENCES)["cider_d"]
    assert metrics.score_captions(shuffled, REFERENCES)["cider_d"] < score / 10


def test_the_most_common_caption_is_the_first_by_alphabet_of_equals():
    assert (
        metrics.most_common_caption(["A dog .", "two cats", "a dog", "Two cats !", "a bird", "", ".", "!"]) == "a dog"
    )


def test_people_are_scored_by_leaving_each_caption_out_once():
    references = {
        "1.jpg": ["a dog runs", "a dog runs", "the cat"],
        "2.jpg": ["two men", "two boys", "two men"],
    }
    rounds = [
        metrics.score_captions(
            {image_id: texts[k] for image_id, texts in references.items()},
            {image_id: [t for n, t in enumerate(texts) if n != k] for image_id, texts in references.items()},
        )
        for k in range(3)
    ]
    people = metrics.human_agreement(references)
    assert list(people) == [*SCORES, "distinct_captions", "words_used", "mean_length"]
    assert people == pytest.approx({name: np.mean([r[name] for r in rounds]) for name in people})
    # Words found: 3 + 2 of 5, then 3 + 1 of 5, then 0 + 2 of 4; never shorter than the closest reference but in
    # the last round, where 2 + 2 words stand against 3 + 2: exp(1 - 5/4) = 0.778801.
    assert people["bleu_1"] == pytest.approx((100 + 80 + 50 * 0.778801) / 3, abs=1e-3)


def test_a_photo_with_fewer_captions_starts_again():
    references = {"1.jpg": ["a dog", "a cat", "a bird"], "2.jpg": ["two men", "two boys"]}
    filled = metrics.human_agreement(references)
    # All captions are two words, of which one is found.
    assert filled["bleu_1"] == pytest.approx(50)


@pytest.mark.parametrize(
    "captions, references, message",
    [
        ({}, {"1.jpg": ["a dog"]}, "No captions to score: expected one for each photo of a split. Received: captions={}"),
        ({"1.jpg": "a dog", "2.jpg": "a cat", "3.jpg": ""}, {"1.jpg": ["a dog"]}, "2 of 3 captions are of photos without references, for example '2.jpg'. Score each split"),
        ({"1.jpg": "a dog"}, {"1.jpg": ["a dog"], "2.jpg": ["a cat"]}, "1 of 2 photos have no caption, for example '2.jpg'. Every photo of the split must have one: give ''"),
        ({"1.jpg": None}, {"1.jpg": ["a dog"]}, "Expected a string for the caption of '1.jpg'. Received: None"),
        ({"1.jpg": ["a dog"]}, {"1.jpg": ["a dog"]}, "Expected a string for the caption of '1.jpg'. Received: ['a dog']"),
        ({"1.jpg": "a dog"}, {"1.jpg": "a dog"}, "references['1.jpg'] must be a list of captions, not one caption. Received: 'a dog'"),
        ({"1.jpg": "a dog"}, {"1.jpg": [3]}, "Expected a string for a caption of references['1.jpg']. Received: 3"),
        ({"1.jpg": "a dog"}, {"1.jpg": ["a dog", " . "]}, "Each reference must have a word, and each photo a reference. Leave empty ones out. Received: references['1.jpg']=['a dog', ' . ']"),
        ({"1.jpg": "a dog"}, {"1.jpg": []}, "Each reference must have a word, and each photo a reference. Leave empty ones out. Received: references['1.jpg']=[]"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_said(captions, references, message):
    for score in (metrics.score_captions, metrics.score_per_photo):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            score(captions, references)


@pytest.mark.parametrize(
    "caption, marker",
    [
        ("a dog <end>", "<end>"),
        ("<start> a dog", "<start>"),
        ("a dog<END>", "<END>"),
        ("a dog </s>", "</s>"),
        ("a dog <pad> <pad>", "<pad>"),
        ("[START] a dog", "[START]"),
        ("startseq a dog", "startseq"),
        ("a dog endseq", "endseq"),
    ],
)
def test_a_marker_left_in_is_refused_everywhere(caption, marker):
    expected = f"but the marker {marker!r} is in it. Take start and end markers off: scored like words they add 4"
    with pytest.raises(ValueError, match=re.escape(f"for the caption of '1.jpg', {expected}")):
        score_one(caption, "a dog")
    with pytest.raises(ValueError, match=re.escape(f"for a caption of references['1.jpg'], {expected}")):
        score_one("a dog", "a dog", caption)
    with pytest.raises(ValueError, match=re.escape(f"for a caption of train_captions, {expected}")):
        metrics.score_captions({"1.jpg": "a dog"}, {"1.jpg": ["a dog"]}, train_captions=[caption])


def test_an_unknown_word_in_a_reference_is_refused():
    with pytest.raises(ValueError, match="the marker '<unk>' is in it"):
        score_one("a dog", "a <unk>")


def test_words_that_only_resemble_markers_pass():
    assert score_one("the end of a start < of > it", "the end of a start of it")["bleu_4"] == pytest.approx(100)


def test_pairs_for_train_captions_are_refused():
    with pytest.raises(ValueError, match=re.escape("Expected a string for a caption of train_captions. Received: (")):
        metrics.score_captions(CAPTIONS, REFERENCES, train_captions=[("1.jpg", "a dog")])
    with pytest.raises(ValueError, match="^train_captions must be a list of captions, not one caption"):
        metrics.most_common_caption("a dog")


def test_controls_say_what_they_need():
    with pytest.raises(ValueError, match="^Captions of at least 2 photos are needed.* Received: 1 photos"):
        metrics.shuffle_captions({"1.jpg": "a dog"}, 0)
    with pytest.raises(ValueError, match="^No train captions to choose from"):
        metrics.most_common_caption([" . "])
    with pytest.raises(ValueError, match="^'1.jpg' has too few captions .* at least 2.* Received: \\['a dog'\\]"):
        metrics.human_agreement({"1.jpg": ["a dog"]})
    with pytest.raises(ValueError, match="^references\\['1.jpg'\\] must be a list of captions"):
        metrics.human_agreement({"1.jpg": "a dog"})
    with pytest.raises(ValueError, match="^No references to score with"):
        metrics.human_agreement({})


def test_people_on_flickr8k_reach_the_known_scores(test_references):
    people = metrics.human_agreement(test_references)
    # Measured before this module existed, by the coco scorer on the same split.
    known = {"bleu_1": 64.7, "bleu_2": 45.7, "bleu_3": 31.4, "bleu_4": 21.4, "cider_d": 82.3, "rouge_l": 49.5}
    assert {name: people[name] for name in known} == pytest.approx(known, abs=0.3)


def test_bleu_equals_the_coco_scorer_on_flickr8k(first_against_others):
    captions, references = first_against_others
    scores = metrics.score_captions(captions, references)
    # The two part only in captions of fewer than four words.
    assert bleu(scores) == pytest.approx(coco_bleu(captions, references), abs=0.03)


def test_dropping_the_word_a_lowers_bleu_on_flickr8k(first_against_others):
    captions, references = first_against_others
    dropped = metrics.score_captions(
        {image_id: without_word_a(text) for image_id, text in captions.items()},
        {image_id: [without_word_a(text) for text in texts] for image_id, texts in references.items()},
    )
    assert dropped["bleu_4"] < metrics.score_captions(captions, references)["bleu_4"] - 3


def test_shuffling_collapses_cider_d_on_flickr8k(first_against_others):
    captions, references = first_against_others
    shuffled = metrics.score_captions(metrics.shuffle_captions(captions, 0), references)
    assert shuffled["cider_d"] < 5


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR runs on Java")
def test_meteor_equals_numbers_by_hand(monkeypatch):
    monkeypatch.setattr(meteor, "run_meteor", RUN_METEOR)

    # The same words in one piece: 1. Of "a dog" and "a cat" the "a" agrees, a function word that weighs a quarter where
    # a content word weighs three: precision and recall 0.25. It is the only match and a chunk of its own, which costs
    # 0.6 of it: 0.25 * 0.4 = 0.1. The mean over photos is that of their statistics, so each is scored alone.
    def score(caption, reference):
        found = metrics.score_meteor({"1": caption}, {"1": [reference]})
        assert found.pop("meteor_missing") is None
        return found

    assert score("a dog runs", "A dog runs.") == {"meteor": pytest.approx(100.0)}
    assert score("a dog", "a cat") == {"meteor": pytest.approx(10.0, abs=1e-6)}
    assert score("", "a cat") == {"meteor": 0.0}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "it runs on Java, which is not on the PATH. Install Java to have it."),
        ("exit 1", "{java} does not run METEOR. Reinstall Java. Received: nothing"),
        (
            "echo 'No Java runtime present.' >&2; exit 1",
            "{java} does not run METEOR. .*Received: No Java runtime present.",
        ),
        ("read line; echo 1 2; read line; echo much; echo more", "{java} does not run METEOR. .*Received: nothing"),
        ("exec sleep 60", "{java} gave no answer within 1 seconds."),
    ],
)
def test_where_java_does_not_do_its_work_the_report_says_why_there_is_no_meteor(monkeypatch, tmp_path, script, reason):
    monkeypatch.setattr(meteor, "run_meteor", RUN_METEOR)
    monkeypatch.setattr(meteor, "_SECONDS", 0.8)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if script else str(tmp_path))
    java = tmp_path / "java"
    if script:
        java.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        java.chmod(0o755)
    found = metrics.score_meteor({"1": "a dog"}, {"1": ["a cat"]})
    assert found.pop("meteor") is None
    assert re.fullmatch(f"METEOR was not measured: {reason.format(java=java)}", found["meteor_missing"])
