"""Has captions judged by who sees the photos: makes lists for judges, and counts what they said.

    python -m benchmarks.judging lists artifacts/efficientnet_lite2 DIR    for each judge the same DIR/list-K.json
    python -m benchmarks.judging count artifacts/efficientnet_lite2 [DIR/FILE.json ...]

`artifacts/results/verdicts.json` keeps what every judge said of every caption of this project for its photos, which
were drawn at random from the test split. `lists` writes down the captions that have too few verdicts, each beside one
by a person, in random order and without saying whose they are. A judge looks at each photo and writes the list back:

    {"photos": [{"photo": "1.jpg", "verdicts": [{"caption": "A dog.", "judgement": "partly", "instead": "a fox"}]}]}

`right`: all that the caption says is so. `partly`: what or where is right, and something else is not. `wrong`: what it
says the photo shows is not there, or is not what happens. `instead` says what is so.

`count` adds the verdicts of these files and writes `artifacts/results/looked_at.json`: where judges differ, the
severest one counts. Captions by people belong to Flickr8k, so of these only the count is kept.
"""

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner import files, output, startup
from captioner.artifacts import catalogue, results

JUDGEMENTS = ("right", "partly", "wrong")  # the mildest first
_VERDICTS_FILE, _LOOKED_FILE = "verdicts.json", "looked_at.json"
_WEIGHTS = ("decoder.keras", "fine_tuned.h5", "word_detector.h5")
_REMEDY = "Take it from the repository again."


def read_verdicts() -> dict:
    """Returns what is kept: `photos`, photo -> caption -> verdicts, and how they were chosen and judged."""
    return files.read_json(results.RESULTS_DIR / _VERDICTS_FILE, _REMEDY)


def make_lists(
    kept: Mapping, captions: Mapping[str, str], people: Mapping[str, str], *, num_judges: int, num_lists: int, seed: int
) -> list[list[dict]]:
    """Returns lists for judges: photos with captions, those that have fewer than `num_judges` verdicts.

    Args:
        kept: From `read_verdicts`.
        captions: Photo -> caption to be judged.
        people: Photo -> caption by a person, which stands beside it.
        num_judges: How many are to judge each caption.
        num_lists: How many lists to make, as even as can be.
        seed: Of the order of a photo's captions.
    """
    order, rows = random.Random(seed), []
    for photo, known in kept["photos"].items():
        if len(known.get(captions[photo], ())) < num_judges:
            shown = sorted({captions[photo], people[photo]})
            order.shuffle(shown)
            rows.append({"photo": photo, "captions": shown})
    return [rows[start::num_lists] for start in range(num_lists)]


def add_verdicts(kept: Mapping, judged: Mapping, people: Mapping[str, Sequence[str]]) -> dict:
    """Returns what is kept with the verdicts of a file, each of which counts once.

    Args:
        kept: From `read_verdicts`.
        judged: What a judge wrote.
        people: Photo -> its captions by people, which are not kept.

    Raises:
        ValueError: If it was counted before, is of other photos or holds no such judgements; the message says where.
    """
    digest = hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()
    if digest in kept.get("counted", ()):
        raise ValueError("These verdicts were counted before.")
    photos = {
        photo: {caption: list(said) for caption, said in known.items()} for photo, known in kept["photos"].items()
    }
    for row in judged.get("photos", ()):
        photo = row.get("photo")
        if photo not in photos:
            raise ValueError(f"{photo} is none of the photos in {_VERDICTS_FILE}.")
        try:
            verdicts = [
                (verdict["caption"], verdict["judgement"], verdict.get("instead", "")) for verdict in row["verdicts"]
            ]
        except (KeyError, TypeError):
            raise ValueError(f"{photo} has no list of verdicts with `caption` and `judgement`.") from None
        for caption, judgement, instead in verdicts:
            if judgement not in JUDGEMENTS:
                raise ValueError(f"A caption of {photo} must be {', '.join(JUDGEMENTS)}. Received: {judgement!r}")
            if caption not in people[photo]:
                photos[photo].setdefault(caption, []).append({"judgement": judgement, "instead": instead})
    return {**kept, "counted": [*kept.get("counted", ()), digest], "photos": photos}


def count_verdicts(kept: Mapping, captions: Mapping[str, str]) -> dict:
    """Returns how captions were judged: `photos` with the severest verdict of each, and `agreement`.

    Args:
        kept: From `read_verdicts`.
        captions: Photo -> caption.

    Raises:
        ValueError: If nobody has judged some of them.
    """
    missing = [photo for photo, known in kept["photos"].items() if captions[photo] not in known]
    if missing:
        raise ValueError(
            f"{len(missing)} captions were never judged, {captions[missing[0]]!r} among them. Have them judged with "
            "`python -m benchmarks.judging lists`."
        )
    photos = [
        {"photo": photo, "caption": captions[photo], **max(known[captions[photo]], key=_severity)}
        for photo, known in kept["photos"].items()
    ]
    several = [said for known in kept["photos"].values() for said in known.values() if len(said) > 1]
    agreed = sum(len({verdict["judgement"] for verdict in said}) == 1 for said in several)
    found = Counter(photo["judgement"] for photo in photos)
    return {
        **{key: value for key, value in kept.items() if key not in ("counted", "photos")},
        "agreement": {"captions": len(several), "share": round(agreed / len(several), 3) if several else None},
        "counts": {judgement: found[judgement] for judgement in JUDGEMENTS},
        "photos": photos,
    }


def _severity(verdict: Mapping) -> int:
    return JUDGEMENTS.index(verdict["judgement"])


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="auto", help="data set, as for train")
    commands = parser.add_subparsers(dest="command", required=True)
    lists = commands.add_parser("lists", help="write lists for judges")
    lists.add_argument("captioner", type=Path, metavar="CAPTIONER")
    lists.add_argument("output", type=Path, metavar="DIR")
    lists.add_argument("--lists", type=int, default=1, metavar="N", help="number of lists (default: 1)")
    lists.add_argument("--judges", type=int, default=2, metavar="N", help="verdicts for each caption (default: 2)")
    lists.add_argument("--seed", type=int, default=0, help="of the order of captions (default: 0)")
    count = commands.add_parser("count", help="add verdicts and count them")
    count.add_argument("captioner", type=Path, metavar="CAPTIONER")
    count.add_argument("verdicts", type=Path, nargs="*", metavar="FILE", help="what a judge wrote")
    options = parser.parse_args()
    startup.import_keras()
    kept = read_verdicts()
    captions, people = write_captions(options.captioner, options.data, list(kept["photos"]))
    if options.command == "lists":
        first = {photo: texts[0] for photo, texts in people.items()}
        made = make_lists(kept, captions, first, num_judges=options.judges, num_lists=options.lists, seed=options.seed)
        options.output.mkdir(parents=True, exist_ok=True)
        for number, rows in enumerate(made):
            _write(options.output / f"list-{number}.json", {"photos": rows})
        print(f"{sum(map(len, made))} of {len(captions)} captions are to be judged: {options.output}")
        return
    try:
        for file in options.verdicts:
            kept = add_verdicts(kept, files.read_json(file, "Ask the judge again."), people)
        found = count_verdicts(kept, captions)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    _write(results.RESULTS_DIR / _VERDICTS_FILE, kept)
    _write(results.RESULTS_DIR / _LOOKED_FILE, describe_captioner(options.captioner) | found)
    told = ", ".join(f"{judgement} {count}" for judgement, count in found["counts"].items())
    print(f"{_LOOKED_FILE}: {told}")


def describe_captioner(folder: Path) -> dict:
    """Returns name, weights and search of the captioner that was judged."""
    return {
        "captioner": folder.resolve().name,
        "sha256": {name: files.digest_file(folder / name) for name in _WEIGHTS},
        "search": catalogue.read_config(folder)["decoding"],
    }


def write_captions(folder: Path, data: str, photos: Sequence[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Captions photos of the test split; returns photo -> caption, and photo -> those by people, as people see both."""
    from captioner.artifacts import saving
    from captioner.data import sources

    captioner = saving.load_captioner(folder)
    dataset, _ = sources.obtain_dataset(data, splits=("test",))
    found = captioner.caption([dataset.photo_path(photo) for photo in photos])
    captions = {photo: output.as_sentence(best.text) for photo, (best, *_) in zip(photos, found, strict=True)}
    return captions, {photo: [output.as_sentence(text) for text in dataset.references[photo]] for photo in photos}


def _write(file: Path, content: object) -> None:
    with files.replace_file(file) as new:
        new.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
