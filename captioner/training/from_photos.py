"""The whole way from photos to a captioner's weights, on any backend of Keras.

`captioner.training.recipe` makes captioners on two cores, from features and with TensorFlow. This needs neither, and
belongs on a GPU: `captioner.training.end_to_end`, then `captioner.training.self_critical`. What comes out is a folder
of weights, of which the recipe makes a captioner: it chooses the search, calibrates and measures.

Beam search is TensorFlow's, so validation captions are written greedily here. Legend: `S` side of a photo in pixels.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from captioner import config, files, float16
from captioner.data import datasets, photo_arrays
from captioner.data.vocabulary import Vocabulary
from captioner.decoder import weights
from captioner.decoder.network import CaptionDecoder
from captioner.decoder.sight import Sight, TeachingCaptioner, build_sight
from captioner.encoders import kernels
from captioner.scoring import machine
from captioner.training import end_to_end, live_views, run_files, self_critical, tuning

# Photos are kept at this size, from which views of any size are cut.
PHOTO_SIZE = 224
# Written last: without it a run has not ended.
_FACTS_FILE = "tuned.json"
VOCABULARY_FILE, _DECODER_FILE, _KERNELS_FILE = "vocabulary.json", "decoder.keras", "kernels.h5"


@dataclasses.dataclass(frozen=True)
class PhotoSplit:
    """The photos of a split that could be read, in memory, and what people wrote about them.

    Attributes:
        name: `train` or `validation`.
        photos: RGB, uint8 `(N, S, S, 3)`.
        references: Image id -> its cleaned captions, in the order of `photos`.
        unreadable: Image id -> why a photo could not be read.
        data: Name of the data set.
    """

    name: str
    photos: np.ndarray
    references: Mapping[str, Sequence[str]]
    unreadable: Mapping[str, str]
    data: str

    def explain_unreadable(self) -> str:
        """Returns a sentence on the photos that were left out, else nothing."""
        return datasets.explain_unreadable(self.name, len(self.references), self.unreadable)


def read_photo_splits(dataset: datasets.CaptionDataset, *, progress: bool = True) -> dict[str, PhotoSplit]:
    """Reads the train and validation photos into memory: 150 kB for each.

    Args:
        dataset: The data set, read with both splits.
        progress: Whether to show progress bars.

    Raises:
        ValueError: If none of a split can be read.
    """
    splits = {}
    for name in ("train", "validation"):
        image_ids, photos, failed = photo_arrays.read_photos(dataset, name, PHOTO_SIZE, progress=progress)
        if not image_ids:
            reason = next(iter(failed.values()), "there are none.")
            raise ValueError(f"No {name} photo can be read, for example: {reason} Mend the data set.")
        references = dataset.references_of(name)
        read = {image_id: references[image_id] for image_id in image_ids}
        splits[name] = PhotoSplit(name, photos, read, failed, dataset.name)
    return splits


def name_run(dataset: datasets.CaptionDataset, settings: config.RecipeConfig, *, taught: bool) -> str:
    """Returns encoder, data, seed and whether captioners taught it; what is Flickr8k or seed 0 is not said."""
    parts_of_name = [settings.encoder, *([dataset.name] if dataset.name != "flickr8k" else [])]
    parts_of_name += [f"seed{settings.seed}"] if settings.seed else []
    return "-".join([*parts_of_name, "taught" if taught else "end-to-end"])


def tune(
    splits: Mapping[str, PhotoSplit],
    encoder: str,
    run_dir: str | Path,
    *,
    settings: tuning.TuningConfig,
    teachers: Sequence[TeachingCaptioner] = (),
    progress: bool = True,
) -> dict:
    """Trains an encoder and a fresh decoder on photos, or goes on with the run in `run_dir`.

    A run that has ended is found again by any backend, which need not be the one that trained.

    Args:
        splits: From `read_photo_splits`.
        encoder: Name of the encoder.
        run_dir: Folder of the run, in which the weights are found in the end, see `load_sight`.
        settings: How to train; its seed is that of `end_to_end`.
        teachers: Captioners, trained on the same captions, that teach beside people.
        progress: Whether to show progress bars.

    Returns:
        What is known of the run, as `read_facts` gives it: `encoder` and the `fingerprint` of its weights as they came,
        `data`, `seed`, `settings`, `teachers` (name and version), `train_photos`, `unreadable`, the histories of
        `train_from_photos`, `keras`, its version and backend, `trained_on`, the device, and `run`, which tells the run
        from others.

    Raises:
        BlockingIOError: If another process is training there.
        ValueError: If a file is damaged, a teacher has other words, or another backend began the run.
        FileNotFoundError: If weights cannot be had.
    """
    run_dir = Path(run_dir)
    train = splits["train"]
    vocabulary = Vocabulary.from_captions(text for texts in train.references.values() for text in texts)
    for teacher in teachers:
        if teacher.words != vocabulary.words:
            raise ValueError(f"{teacher.name} cannot teach: it was trained on other captions and has other words.")
    keras.utils.set_random_seed(settings.end_to_end.seed)
    sight = build_sight(encoder, vocabulary, settings.decoder)
    facts: dict[str, Any] = {
        "encoder": encoder,
        "fingerprint": sight.fingerprint,
        "data": train.data,
        "seed": settings.end_to_end.seed,
        "settings": dataclasses.asdict(settings),
        "teachers": [{"name": teacher.name, "version": teacher.version} for teacher in teachers],
        "train_photos": len(train.references),
        "unreadable": {name: dict(split.unreadable) for name, split in splits.items() if split.unreadable},
    }
    made_of = {
        "captions": {name: run_files.digest(split.references) for name, split in splits.items()},
        "photos": {name: hashlib.sha256(split.photos.data).hexdigest()[:8] for name, split in splits.items()},
    }
    description = facts | {"made_of": made_of, "backend": check_backend(run_dir)}
    if (run_dir / _FACTS_FILE).is_file():
        run_files.describe_run(run_dir / run_files.RUN_FILE, description)
        return read_facts(run_dir)
    histories = train_from_photos(
        sight,
        vocabulary,
        train,
        splits["validation"],
        run_dir,
        settings=settings,
        description=description,
        teachers=[teacher.sight for teacher in teachers],
        progress=progress,
    )
    facts |= histories | {
        "keras": f"{keras.version()}, {keras.backend.backend()}",
        "trained_on": machine.name_device(),
    }
    facts["run"] = run_files.digest(facts)
    with files.replace_file(run_dir / _FACTS_FILE) as new:
        new.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def check_backend(run_dir: Path) -> str:
    """Returns the backend that a run was begun with, which is this one where there is none.

    Call it before the long work, too.

    Raises:
        ValueError: If it is another one, and the run has not ended.
    """
    file = run_dir / run_files.RUN_FILE
    mine = keras.backend.backend()
    began = run_files.read_description(file).get("backend", mine) if file.is_file() else mine
    if not (run_dir / _FACTS_FILE).is_file():
        machine.check_backend(began, run_dir)
    return began


def read_facts(run_dir: Path) -> dict:
    """Returns what is known of a run that has ended, see `tune`.

    Raises:
        FileNotFoundError: If no run has ended there.
        ValueError: If the file is damaged.
    """
    file = run_dir / _FACTS_FILE
    if not file.is_file():
        raise FileNotFoundError(f"No tuning has ended in {run_dir}. Name a folder that tune has written.")
    return files.read_json(file, f"Delete the folder {run_dir} and tune again.")


def train_from_photos(
    sight: Sight,
    vocabulary: Vocabulary,
    train: PhotoSplit,
    validation: PhotoSplit,
    run_dir: str | Path,
    *,
    settings: tuning.TuningConfig,
    description: Mapping,
    teachers: Sequence[Sight] = (),
    progress: bool = True,
) -> dict[str, list[dict]]:
    """Trains an encoder and a decoder together, then the decoder by the scores of its captions, and saves both.

    Args:
        sight: From `captioner.decoder.sight.build_sight`.
        vocabulary: The words of the decoder.
        train, validation: From `read_photo_splits`.
        run_dir: Folder of the run, in which the weights are found in the end, see `load_sight`.
        settings: How to train.
        description: What the run is of.
        teachers: Of the same words; they teach beside people.
        progress: Whether to show progress bars.

    Returns:
        The histories `fine_tuning` and `refinement`, see `end_to_end.train_end_to_end` and
        `self_critical.refine_decoder`.
    """
    run_dir, together = Path(run_dir), settings.end_to_end
    captions = list(train.references.values())
    # Where a length more is a compilation more, all batches are as long.
    full_length = keras.backend.backend() != "tensorflow"
    batches = end_to_end.ViewBatches(train.photos, captions, vocabulary, together, full_length=full_length)
    viewer = live_views.Viewer(sight, mirrored=settings.mirrored)
    scorer = live_views.GreedyScorer(sight, viewer, vocabulary, validation.photos, validation.references)
    history = end_to_end.train_end_to_end(
        sight,
        batches,
        scorer.score,
        run_dir,
        settings=together,
        description=description,
        teachers=teachers,
        progress=progress,
    )
    refinement = self_critical.refine_decoder(
        sight.decoder,
        live_views.LiveViews(viewer, train.photos, together),
        train.references,
        vocabulary,
        lambda _: scorer.score(),
        run_dir,
        settings=settings.self_critical,
        progress=progress,
    )
    float16.round_kernels(sight.decoder)
    _save_sight(sight, vocabulary, run_dir)
    return {"fine_tuning": history, "refinement": refinement}


def load_sight(network: keras.Model, decoder: CaptionDecoder, folder: Path) -> tuple[str, ...]:
    """Gives encoder and decoder the weights of a run, and returns the layers of the encoder that learnt.

    Raises:
        ValueError: If a file is damaged or of another encoder or decoder.
    """
    with run_files.reading(folder / _DECODER_FILE):
        decoder.set_weights(weights.load_decoder(folder / _DECODER_FILE).get_weights())
    return kernels.load_kernels(network, folder / _KERNELS_FILE)


def _save_sight(sight: Sight, vocabulary: Vocabulary, folder: Path) -> None:
    vocabulary.save(folder / VOCABULARY_FILE)
    with files.replace_file(folder / _KERNELS_FILE) as new:
        kernels.save_kernels(sight.network, list(kernels.find_kernels(sight.network)), new)
    weights.save_decoder(sight.decoder, folder / _DECODER_FILE)
