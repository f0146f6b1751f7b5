"""The command line: `python -m captioner COMMAND`.

Exit codes: 0 done, 1 something failed (what could be done is done), 2 wrong usage, 130 stopped by Ctrl-C, 141
the reader of the output went away.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from captioner import startup
from captioner.command_line import steps
from captioner.command_line.arguments import build_parser, parse_arguments
from captioner.command_line.captioning import run_caption
from captioner.command_line.scoring import run_score

# Said before seconds of silence.
_LOADING = "Loading TensorFlow ..."
_LOADING_KERAS = "Loading Keras ..."


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = parse_arguments(arguments, COMMANDS)
    # TensorFlow reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return options.run(options)
    except BrokenPipeError:
        # Whoever reads the output, for example `head`, has enough. Python would complain when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ValueError) as error:
        # Expected failures explain themselves in one sentence; anything else is a bug and keeps its trace-back.
        steps.say(f"error: {steps.explain(error)}")
        return 1
    except KeyboardInterrupt:
        steps.say("Stopped.")
        return 130


def run_evaluate(options: argparse.Namespace) -> int:
    """Captions one split and scores the captions."""
    from captioner.artifacts import catalogue

    steps.check_output(options.output)
    folder = catalogue.choose_captioner(options.captioner)
    dataset = steps.read_split(options.data, options.split)
    steps.say(f"Loading {folder.name} ...")
    captioner = steps.load_captioner(folder)
    from captioner.encoders import splits
    from captioner.scoring import evaluation

    split = splits.encode_split(captioner.encoder, dataset, options.split)
    steps.say_unreadable(split)
    search = steps.change_search(captioner, num_beams=options.num_beams)
    train = steps.train_captions(dataset)
    report = evaluation.evaluate_captioner(captioner, split, train_captions=train, search=search)
    steps.write_report(report, options.output)
    return 0


def run_extract(options: argparse.Namespace) -> int:
    """Encodes the photos of a data set into the feature cache, or any photos into Parquet with --ray."""
    if options.ray:
        from captioner.command_line import on_ray

        return on_ray.run_extract(options)
    from captioner import config
    from captioner.data import datasets

    dataset = datasets.read_dataset(steps.locate_data(options.data), options.splits)
    steps.say_notes(dataset)
    steps.say(_LOADING)
    steps.start_tensorflow()
    from captioner.encoders import features, weights
    from captioner.encoders.encoder import load_encoder

    name, why = weights.choose_encoder(options.encoder)
    print(why)
    mirrored = config.is_mirrored(name, options.mirrored)
    encoder = load_encoder(name, weights=options.encoder_weights or "imagenet", mirrored=mirrored)
    failed: dict[str, str] = {}
    for split in options.splits:
        failed |= features.extract_features(encoder, dataset.photo_paths(split)).failed
    for image_id, reason in failed.items():
        steps.say(f"  {image_id}: {reason}")
    return 1 if failed else 0


def run_train(options: argparse.Namespace) -> int:
    """Trains a captioner from photos to `artifacts/<name>`, as the notebook does."""
    from captioner import config
    from captioner.data import datasets, sources

    settings = config.RecipeConfig(
        data=str(options.data or "auto"),
        encoder=options.encoder,
        encoder_weights=options.encoder_weights and str(options.encoder_weights),
        mirrored=options.mirrored,
        photos=options.photos,
        seed=options.seed,
        min_count=options.min_count,
        decoder={"attend_to": options.attend_to, "attention": options.attention},
        training={"epochs": options.epochs, "num_crops": options.crops},
        fine_tuning={"epochs": options.tuning_epochs},
        self_critical={"rounds": options.rounds},
        decoding=config.DecodingConfig(num_beams=options.beams),
    )
    if settings.data not in sources.NAMES:
        datasets.find_dataset(settings.data)
    steps.check_place(options)
    steps.say(_LOADING)
    steps.start_tensorflow()
    from captioner.artifacts import saving
    from captioner.scoring import calibration
    from captioner.training import recipe

    plan = recipe.plan_training(settings, with_test=options.test)
    print(*plan.notes, sep="\n", flush=True)
    materials = recipe.encode_photos(plan)
    for note in materials.notes:
        steps.say(note)
    folder, replace = steps.choose_place(options, plan.name, materials.identity)
    trained = recipe.train_captioner(materials, name=folder.name)
    steps.say_missing(trained.report)
    print(calibration.describe_report(trained.report["calibration"]))
    saving.save_captioner(trained.captioner, folder, trained.report, replace=replace)
    print(f"The captioner is in {folder}.")
    return 0


def run_tune(options: argparse.Namespace) -> int:
    """Trains an encoder and a decoder together from photos, best on a GPU with JAX; captioners can teach them."""
    from captioner import config, files
    from captioner.artifacts import catalogue
    from captioner.data import datasets
    from captioner.data.drawings import dataset as drawings

    splits = config.SPLITS if options.test else ("train", "validation")
    dataset = datasets.read_dataset(steps.locate_data(options.data), splits)
    steps.say_notes(dataset)
    folders = [catalogue.choose_captioner(teacher) for teacher in options.teachers]
    for folder in folders:
        if catalogue.is_of_drawings(folder) != drawings.is_drawn(dataset.folder):
            raise ValueError(f"{folder.name} cannot teach: it was trained on other captions.")
    steps.check_place(options)
    # The same data for training and measuring, wherever it was found.
    data = str(dataset.folder.resolve())
    settings = config.RecipeConfig(data=data, encoder=options.encoder, seed=options.seed)
    steps.say(_LOADING_KERAS)
    startup.keep_freed_memory()
    # JAX will do as well, and is faster on a GPU.
    startup.import_keras(any_backend=True)
    from captioner.training import from_photos

    name = options.name or from_photos.name_run(dataset, settings, taught=bool(folders))
    with files.hold(config.DATA_DIR / "tuned" / name, "training"):
        return _tune(options, dataset, settings, folders, config.DATA_DIR / "tuned" / name)


def _tune(options: argparse.Namespace, dataset, settings, teachers: list[Path], run_dir: Path) -> int:
    import keras

    from captioner.artifacts import parts
    from captioner.data.drawings import dataset as drawings
    from captioner.encoders import weights
    from captioner.training import from_photos, tuning

    weights.find_weights(options.encoder)
    from_photos.check_backend(run_dir)
    taught = [parts.load_teacher(folder) for folder in teachers]
    how = tuning.suggest_tuning(
        options.encoder,
        len(dataset.image_ids("train")),
        len(dataset.captions("train")),
        is_drawn=drawings.is_drawn(dataset.folder),
        seed=settings.seed,
        num_epochs=options.epochs,
        rounds=options.rounds,
    )
    splits = from_photos.read_photo_splits(dataset)
    for split in splits.values():
        steps.say_unreadable(split)
    facts = from_photos.tune(splits, options.encoder, run_dir, settings=how, teachers=taught)
    if keras.backend.backend() != "tensorflow":
        print(f"The weights are in {run_dir}. The same command with TensorFlow makes a captioner of them.")
        return 0
    return _keep_tuned(options, settings, run_dir, facts["run"])


def _keep_tuned(options: argparse.Namespace, settings, run_dir: Path, run: str) -> int:
    from captioner.artifacts import saving
    from captioner.training import recipe, tuned

    folder, replace = steps.choose_place(options, run_dir.name, run)
    plan = recipe.plan_training(settings, with_test=options.test)
    captioner, materials = tuned.load_tuned(plan, run_dir, name=folder.name)
    if options.test:
        # The other photos were read, and spoken of, before the training.
        steps.say_unreadable(materials.splits["test"])
    trained = tuned.measure_tuned(captioner, materials)
    steps.say_missing(trained.report)
    saving.save_captioner(trained.captioner, folder, trained.report, replace=replace)
    print(f"The captioner is in {folder}.")
    return 0


def run_shrink(options: argparse.Namespace) -> int:
    """Makes a captioner on `compact` of one on `mobilenet_v2`, which is faster, and measures it."""
    from captioner import config
    from captioner.artifacts import catalogue
    from captioner.data import datasets

    source = catalogue.choose_captioner(options.captioner)
    report, splits = catalogue.read_metrics(source), config.SPLITS if options.test else ("train", "validation")
    dataset = datasets.read_dataset(steps.locate_data(options.data), splits)
    steps.say_notes(dataset)
    if report.get("data") != dataset.name:
        raise ValueError(
            f"{source.name} was trained on the data set {report.get('data')}: name its folder with --data. "
            f"Received: {dataset.name}"
        )
    steps.check_place(options)
    steps.say(f"Loading {source.name} ...")
    known = steps.load_captioner(source)
    from captioner.artifacts import saving
    from captioner.training import shrinking

    captioner = shrinking.shrink_captioner(known, version=catalogue.version_of(source))
    folder, replace = steps.choose_place(options, captioner.name, shrinking.digest_origin(captioner))
    captioner.name = folder.name
    materials = shrinking.encode_photos(captioner, dataset, report)
    for note in materials.notes:
        steps.say(note)
    trained = shrinking.measure_shrunk(captioner, materials, report)
    steps.say_missing(trained.report)
    saving.save_captioner(trained.captioner, folder, trained.report, replace=replace)
    print(f"The captioner is in {folder}.")
    return 0


def run_download(options: argparse.Namespace) -> int:
    """Fetches Flickr8k."""
    from captioner.data import flickr8k

    print(f"Flickr8k is in {flickr8k.download_flickr8k(options.folder)}.")
    return 0


def run_completion(options: argparse.Namespace) -> int:
    """Prints a script that lets a shell complete commands, options and file names."""
    import shtab

    parser = build_parser(COMMANDS, "captioner")
    [commands] = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for command in commands.choices.values():
        for action in command._actions:
            if action.type is Path or action.dest == "paths":
                action.complete = shtab.FILE
    print(shtab.complete(parser, options.shell))
    return 0


def run_page(options: argparse.Namespace) -> int:
    """Opens the page in a browser."""
    from captioner import config

    page = config.PROJECT_DIR / ("captioner/page/app.py" if config.IS_INSTALLED else "app.py")
    command = [sys.executable, "-m", "streamlit", "run", str(page)]
    return subprocess.call(command)  # noqa: S603  It runs this interpreter on this project's page.


COMMANDS = {
    "caption": run_caption,
    "evaluate": run_evaluate,
    "score": run_score,
    "extract": run_extract,
    "train": run_train,
    "tune": run_tune,
    "shrink": run_shrink,
    "download": run_download,
    "completion": run_completion,
    "page": run_page,
}


if __name__ == "__main__":
    sys.exit(main())
