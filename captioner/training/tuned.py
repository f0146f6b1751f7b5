"""From the weights that `captioner.training.from_photos` has trained, on any backend, to a measured captioner."""

from pathlib import Path

from captioner.data.vocabulary import Vocabulary
from captioner.inference import Captioner
from captioner.training import from_photos, recipe


def load_tuned(
    plan: recipe.Plan, folder: Path, *, name: str, progress: bool = True
) -> tuple[Captioner, recipe.Materials]:
    """Makes a captioner of the weights that `captioner.training.from_photos` has trained, for `measure_tuned`.

    Args:
        plan: For the encoder, its weights, the data and the seed of that run.
        folder: The folder of the run.
        name: As for `captioner.training.recipe.build_captioner`.
        progress: Whether to show progress bars.

    Raises:
        FileNotFoundError: If no run has ended there.
        ValueError: If it is of another plan, or a file is damaged.
    """
    facts = from_photos.read_facts(folder)
    mine = {
        "encoder": plan.encoder.name,
        "fingerprint": plan.encoder.fingerprint,
        "data": plan.dataset.name,
        "seed": plan.settings.seed,
    }
    for key, expected in mine.items():
        if facts[key] != expected:
            raise ValueError(
                f"{folder} holds weights of another plan: {key} {expected!r} is expected. Received: {facts[key]!r}"
            )
    captioner = recipe.build_captioner(plan, Vocabulary.load(folder / from_photos.VOCABULARY_FILE), name=name)
    plan.encoder.adopt_changes(from_photos.load_sight(plan.encoder.model, captioner.decoder, folder))
    return captioner, recipe.encode_measured(plan, facts, with_train=True, progress=progress)


def measure_tuned(captioner: Captioner, materials: recipe.Materials, *, progress: bool = True) -> recipe.Trained:
    """Trains a word detector for what `load_tuned` gave, and measures it."""
    recipe.detect_words(captioner, materials, progress=progress)
    report, facts = recipe.measure_captioner(captioner, materials, progress=progress), materials.description
    stages = {name: facts[name] for name in ("fine_tuning", "refinement")}
    return recipe.Trained(
        captioner,
        report
        | stages
        | {key: facts[key] for key in ("run", "trained_on", "seed", "settings", "train_photos")}
        | {
            "unreadable": facts["unreadable"] | materials.unreadable,
            "taught_by": [teacher["name"] for teacher in facts["teachers"]],
            "trained_with": facts["keras"],
            "minutes": {stage: sum(row["seconds"] for row in rows) / 60 for stage, rows in stages.items()},
        },
    )
