"""What people say of captions: the file, the scores of what it judges, and what the real one says of "right"."""

import numpy as np
import pytest

from captioner import agreement, datasets, judgements, metrics

REFERENCES = {
    "1.jpg": ("a dog runs on grass", "the dog is running"),
    "2.jpg": ("two children play in the sand", "kids at a beach"),
}


@pytest.fixture
def folder(tmp_path):
    lines = [f"{i}#{n}\t{text.capitalize()} ." for i, texts in REFERENCES.items() for n, text in enumerate(texts)]
    (tmp_path / datasets.TOKEN_FILE).write_text("\n".join(lines) + "\n")
    return tmp_path


def write(folder, *lines):
    (folder / judgements.EXPERT_FILE).write_text("\n".join(lines) + "\n")


def test_judgements_are_read_with_the_caption_that_was_judged(folder):
    write(folder, "1.jpg\t2.jpg#1\t1\t1\t2", "", "2.jpg\t1.jpg#0\t3\t4\t2")
    assert judgements.read_judgements(folder, ["1.jpg", "2.jpg"]) == [
        judgements.Judgement("1.jpg", "kids at a beach", (1, 1, 2)),
        judgements.Judgement("2.jpg", "a dog runs on grass", (3, 4, 2)),
    ]


def test_captions_of_the_photo_itself_and_photos_not_asked_for_are_left_out(folder):
    write(folder, "1.jpg\t1.jpg#0\t4\t4\t4", "1.jpg\t2.jpg#0\t1\t1\t1", "2.jpg\t1.jpg#0\t1\t1\t1")
    assert [j.image_id for j in judgements.read_judgements(folder, ["1.jpg"])] == ["1.jpg"]


def test_a_data_set_without_judgements_has_none(folder):
    assert judgements.read_judgements(folder, ["1.jpg"]) == []


@pytest.mark.parametrize(
    "line",
    ["1.jpg\t2.jpg#1\t1\t1", "1.jpg\t2.jpg#1\t1\t1\t5", "1.jpg 2.jpg#1 1 1 1", "1.jpg\t2.jpg#2\t1\t1\t1"],
    ids=["two grades", "grade 5", "blanks", "no such caption"],
)
def test_a_mangled_line_is_named(folder, line):
    write(folder, "1.jpg\t2.jpg#0\t1\t1\t1", line)
    with pytest.raises(ValueError, match="ExpertAnnotations.txt, line 2: expected .* Received: '1.jpg"):
        judgements.read_judgements(folder, ["1.jpg"])


def test_a_caption_is_right_if_two_of_three_experts_find_at_most_minor_errors():
    right = [judgements.Judgement("1.jpg", "a dog", grades).right for grades in ((1, 3, 3), (2, 2, 4), (4, 4, 1))]
    assert right == [True, False, True]


def test_every_judged_caption_is_scored_like_a_caption_of_its_photo():
    texts = [("1.jpg", "a dog runs"), ("2.jpg", "kids play"), ("1.jpg", "kids at a beach"), ("1.jpg", "the dog")]
    scores = judgements.score_judgements([judgements.Judgement(*pair, (1, 1, 1)) for pair in texts], REFERENCES)
    for place, (image_id, text) in enumerate(texts):
        alone = metrics.score_per_photo(dict.fromkeys(REFERENCES, "") | {image_id: text}, REFERENCES)
        assert scores["cider_d"][place] == pytest.approx(alone[image_id])
    # Both words of "the dog" stand in a reference of four words: exp(1 - 4 / 2) for being so short.
    assert scores["bleu_1"][3] == pytest.approx(100 * np.exp(-1))
    # Its words in order: recall 2 of 4, precision 2 of 2, F with beta 1.2.
    assert scores["rouge_l"][3] == pytest.approx(100 * 2.44 * 1 * 0.5 / (0.5 + 1.44 * 1))


def test_chances_follow_the_scale_of_the_score():
    scores, right = np.expm1([0.0, 0, 0, 0, 4, 4, 4, 4]), np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    curve = judgements.fit_expert_curve(scores, right)
    # As worked out in test_agreement: 1/3 and 2/3, so one half between them.
    assert judgements.expert_chances(curve, scores[[0, 4]]) == pytest.approx([1 / 3, 2 / 3])
    assert judgements.even_score(curve) == pytest.approx(np.expm1(2))


def test_what_counts_as_right_is_what_flickr8ks_experts_say(flickr8k_dir):
    if not (flickr8k_dir / judgements.EXPERT_FILE).is_file():
        pytest.skip(f"{judgements.EXPERT_FILE} does not belong to every copy of Flickr8k.")
    dataset = datasets.read_dataset(flickr8k_dir, ("test",))
    judged = judgements.read_judgements(flickr8k_dir, dataset.image_ids("test"))
    assert len(judged) == 5664
    scores = judgements.score_judgements(judged, dataset.references)
    right = np.array([judgement.right for judgement in judged])
    curve = judgements.fit_expert_curve(scores["cider_d"], right)
    assert judgements.even_score(curve) == pytest.approx(judgements.RIGHT_CIDER_D, abs=0.5)
    # The curve fits: near the mark, about half are right.
    near = np.abs(scores["cider_d"] - judgements.RIGHT_CIDER_D) < 15
    assert right[near].mean() == pytest.approx(0.5, abs=0.05)
    # Of the scores, CIDEr-D tells best what is right.
    auc = {name: agreement.measure_auc(values, right) for name, values in scores.items()}
    assert max(auc, key=auc.get) == "cider_d" and auc["cider_d"] > 0.87
    # Published: 43.9, in J. Hessel et al., "CLIPScore", EMNLP 2021. https://aclanthology.org/2021.emnlp-main.595
    grades = np.array([judgement.grades for judgement in judged])
    tau = agreement.measure_tau_c(np.repeat(scores["cider_d"], 3), grades.ravel())
    assert 100 * tau == pytest.approx(43.9, abs=0.05)
