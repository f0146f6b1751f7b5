"""Asks Flickr8k's expert judgements which score means that a caption is right, and what confidence is worth.

    python -m benchmarks.expert_judgements artifacts/compact

Writes `artifacts/results/expert_judgements.json`. Its `even_cider_d` is where `calibration.RIGHT_CIDER_D` comes from.

Three experts graded 5,822 pairs of a test photo and somebody's caption, mostly of another photo: 4 it describes the
photo without errors, 3 with minor errors, 2 it is somewhat related, 1 it is unrelated. No captioner had a part in it.

Reference: M. Hodosh, P. Young, J. Hockenmaier, "Framing Image Description as a Ranking Task: Data, Models and
Evaluation Metrics", JAIR 47, 2013. https://doi.org/10.1613/jair.3994
"""

import argparse
import dataclasses
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from nltk.translate import bleu_score
from pycocoevalcap.rouge.rouge import Rouge

from captioner.artifacts import results, saving
from captioner.data import captions as captions_module
from captioner.data import datasets
from captioner.encoders.splits import EncodedSplit, encode_split
from captioner.inference import Captioner
from captioner.scoring import calibration, evaluation, metrics, reliability

EXPERT_FILE = "ExpertAnnotations.txt"
_RIGHT_GRADE = 3
_LINE = re.compile(r"(?P<image_id>[^\t]+)\t(?P<source>[^\t]+?)#(?P<number>\d+)\t(?P<grades>[1-4](?:\t[1-4]){2})")


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What experts said of a caption for a photo.

    Attributes:
        image_id: The photo.
        caption: The cleaned caption, written by a person about another photo.
        grades: From 1, unrelated, to 4, without errors; one for each of three experts.
    """

    image_id: str
    caption: str
    grades: tuple[int, ...]

    @property
    def right(self) -> bool:
        """Whether most experts find at most minor errors."""
        return statistics.median(self.grades) >= _RIGHT_GRADE


def read_judgements(folder: str | Path, image_ids: Sequence[str]) -> list[Judgement]:
    """Reads the experts' judgements, `<photo><TAB><photo>#<n><TAB><grade><TAB><grade><TAB><grade>` a line.

    Captions that were written about the judged photo itself are left out, as is usual: they are among its references,
    and experts call all of them right.

    Args:
        folder: Folder of the data set.
        image_ids: The photos whose judgements are wanted.

    Returns:
        The judgements in the file's order; none where the data set has no such file.

    Raises:
        ValueError: If a line has another form or names a caption that is not there.
    """
    path = Path(folder) / EXPERT_FILE
    if not path.is_file():
        return []
    wanted, written, judgements = set(image_ids), datasets.read_raw_captions(folder), []
    for number, line in enumerate(captions_module.read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None or int(match["number"]) >= len(written.get(match["source"], ())):
            raise ValueError(
                f"{EXPERT_FILE}, line {number}: expected '<photo><TAB><photo>#<n><TAB><grades from 1 to 4>' with a "
                f"caption of the data set. Mend or remove that line. Received: {line[:80]!r}"
            )
        if match["image_id"] in wanted and match["image_id"] != match["source"]:
            caption = captions_module.clean_caption(written[match["source"]][int(match["number"])])
            grades = tuple(map(int, match["grades"].split("\t")))
            judgements.append(Judgement(match["image_id"], caption, grades))
    return judgements


def score_judgements(judgements: Sequence[Judgement], references: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Scores each judged caption against the photo's references.

    Args:
        judgements: From `read_judgements`.
        references: Image id -> captions of the whole split: they say how rare a word is.

    Returns:
        `cider_d`, `rouge_l`, `bleu_1` and `bleu_4` (with a tenth of a match in place of none) times 100, each `(N,)`.
    """
    pairs = [(judgement.caption, references[judgement.image_id]) for judgement in judgements]
    rouge, smooth = Rouge(), bleu_score.SmoothingFunction().method1
    bleu_weights = [metrics.BLEU_WEIGHTS[0], metrics.BLEU_WEIGHTS[3]]
    bleu_1, bleu_4 = np.array(
        [
            bleu_score.sentence_bleu([text.split() for text in others], caption.split(), bleu_weights, smooth)
            for caption, others in pairs
        ]
    ).T
    rouge_l = np.array([rouge.calc_score([caption], others) for caption, others in pairs])
    scores = {"rouge_l": rouge_l, "bleu_1": bleu_1, "bleu_4": bleu_4}
    return {"cider_d": _score_cider(judgements, references)} | {name: 100 * values for name, values in scores.items()}


def _score_cider(judgements: Sequence[Judgement], references: Mapping[str, Sequence[str]]) -> np.ndarray:
    places = defaultdict(list)
    for place, judgement in enumerate(judgements):
        places[judgement.image_id].append(place)
    scores = np.zeros(len(judgements))
    # Round k scores the k-th caption of every photo; a photo with fewer has an empty one.
    for k in range(max(map(len, places.values()), default=0)):
        chosen = {image_id: own[k] for image_id, own in places.items() if k < len(own)}
        captions = {i: judgements[chosen[i]].caption if i in chosen else "" for i in references}
        scored = metrics.score_per_photo(captions, references)
        for image_id, place in chosen.items():
            scores[place] = scored[image_id]
    return scores


def compare_with_people(captioner: Captioner, folder: str | Path, test: EncodedSplit) -> dict:
    """Compares what a captioner thinks of captions by people with what experts said of them.

    Args:
        captioner: The captioner; it reads the judged captions, it writes none.
        folder: Folder of the data set.
        test: Its test split: Flickr8k has judgements for test alone.

    Returns:
        `num_judgements`; `share_right` as the experts say; Kendall's `tau_c` with all their grades and `auc`, each of
        confidence and of scores; the chance that experts call a caption right at the CIDEr-D from which captions count
        as right, `chance_at_mark`; and the CIDEr-D where it is one half, `even_cider_d`, `None` if it is nowhere.

    Raises:
        ValueError: If the data set has no judgements.
    """
    judged = read_judgements(folder, list(test.references))
    if not judged:
        raise ValueError(f"{folder} has no judgements of its test photos. Expected: the file {EXPERT_FILE}.")
    log_probs, counts = evaluation.measure_log_probs(
        captioner, [(j.image_id, j.caption) for j in judged], test.features
    )
    scores = score_judgements(judged, test.references)
    values = {"log_prob_per_word": log_probs / counts} | scores
    right = np.array([judgement.right for judgement in judged])
    grades = np.array([judgement.grades for judgement in judged])  # (N, 3)
    return {
        "num_judgements": len(judged),
        "share_right": float(right.mean()),
        # Every grade counts, as in published work.
        "tau_c": {name: reliability.measure_tau_c(np.repeat(v, 3), grades.ravel()) for name, v in values.items()},
        "auc": {name: reliability.measure_auc(v, right) for name, v in values.items()},
        **judge_mark(scores["cider_d"], right),
    }


def judge_mark(cider_d: np.ndarray, right: np.ndarray) -> dict[str, float | None]:
    """Returns what experts say of the mark, as in `compare_with_people`: `mark`, `chance_at_mark` and `even_cider_d`.

    The chance that they call a caption right is taken for a logistic curve of `log(1 + CIDEr-D)`.

    Args:
        cider_d: `(N,)`, from `score_judgements`.
        right: `(N,)` bool, what the experts say.
    """
    mark = calibration.RIGHT_CIDER_D
    curve = reliability.fit_chance_curve(np.log1p(cider_d), right)
    even = float(np.expm1(curve.value_at(0.5))) if curve.slope else None
    return {"mark": mark, "chance_at_mark": float(curve(np.log1p(mark))), "even_cider_d": even}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, help="folder of a captioner")
    captioner = saving.load_captioner(parser.parse_args().captioner)
    dataset = datasets.read_dataset(splits=("test",))
    test = encode_split(captioner.encoder, dataset, "test")
    report = {"captioner": captioner.name} | compare_with_people(captioner, dataset.folder, test)
    file = results.RESULTS_DIR / "expert_judgements.json"
    file.write_text(json.dumps(report | evaluation.describe_machine(), indent=2) + "\n", encoding="utf-8")
    print(f"Wrote {file.name}.")


if __name__ == "__main__":
    main()
