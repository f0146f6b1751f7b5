"""What can be said on the command line: the options of every command, their defaults and what is wrong usage."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from captioner import __version__, config, output

_SPLIT_CHOICES = ("validation", "test")
_CAPTION_EXAMPLES = """\
examples:
  python -m captioner caption dog.jpg
      shows a caption
  python -m captioner caption holiday/ --alternatives 2
      shows three captions of each photo in the folder and the folders in it
  python -m captioner caption holiday/ --output captions.csv
      writes a table row by row, so that all but the last few rows are there when
      you press Ctrl-C or the process is killed
  python -m captioner caption holiday/ --output captions.csv --resume
      goes on after the rows in the file, and tries again what could not be read
  python -m captioner caption holiday/ --sidecar
      writes each caption beside its photo, for darktable, digiKam and the like
  find . -name '*.jpg' -newer last -print0 | python -m captioner caption -
      captions the files that standard input names, one a line or divided by NUL

formats, chosen by the ending of FILE (.txt, .csv, .jsonl, .json) or by --format:
  text   a line for each photo, to read
  csv    a table for a spreadsheet: photo, caption, words, confidence,
         alternative_1, ..., error. UTF-8 with a byte order mark, so that Excel shows
         every letter; an apostrophe stands before what Excel would take for a formula
  jsonl  a JSON object on each line: photo, caption, words, confidence, log_prob,
         alternatives, error; for long runs, since it can be resumed like csv
  json   the same objects as one array, in the file only when the run has ended
  A caption is a sentence; words are the captioner's own, which score reads. The
  confidence is sure, fairly sure or guessing: the run ends by saying what the words
  are worth, and the captioner's model card says it, too

sidecars (--sidecar): photo.jpg.txt holds the caption, photo.jpg.xmp holds it as
  description (dc:description) and as alt text (Iptc4xmpCore:AltTextAccessibility).
  darktable and digiKam read an XMP file of that name. Lightroom reads none beside a
  JPEG, PNG or TIFF file, only what is within it; exiftool puts it there:
  exiftool -ext jpg -tagsFromFile %d%F.xmp -XMP:all DIR
  The photos stay as they are, and so does a sidecar that is there already

exit codes: 0 every photo has a caption, 1 some have none (they are listed at the
end) or nothing could be done, 2 wrong usage, 130 stopped by Ctrl-C"""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints repeat what was typed, but nothing that steers the terminal."""

    def error(self, message):
        super().error(output.escape_steering(message))


def parse_arguments(arguments: Sequence[str] | None, commands: Mapping[str, Callable]) -> argparse.Namespace:
    """Returns the options of a command line, with the function to call with them as `run`.

    Args:
        arguments: The words after `python -m captioner`; `None` for those of this process.
        commands: The function of each command; its docstring is the command's help.

    Raises:
        SystemExit: With 2 for wrong usage, which has been explained, and with 0 for `--help`.
    """
    parser = _build_parser(commands)
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        parser.exit(2)
    options.check(options)
    return options


def _build_parser(runs: Mapping[str, Callable]) -> argparse.ArgumentParser:
    parser = _Parser(
        # Called by the name that it was started by.
        prog="captioner" if Path(sys.argv[0]).stem == "captioner" else "python -m captioner",
        description="Caption photos; train and score captioners.",
        epilog="python -m captioner COMMAND --help tells more of a command.",
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")

    def add_command(name: str, **options) -> argparse.ArgumentParser:
        doc = runs[name].__doc__ or ""
        command = commands.add_parser(name, help=doc.rstrip("."), description=doc, **options)
        command.set_defaults(run=runs[name], check=lambda _: None)
        return command

    _add_caption_options(
        add_command("caption", epilog=_CAPTION_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    )

    evaluate = add_command("evaluate")
    _add_search_options(evaluate)
    _add_split_options(evaluate)

    score = add_command("score")
    score.add_argument(
        "captions",
        type=Path,
        metavar="CAPTIONS",
        help="image id -> caption as JSON, COCO's results, JSON lines, CSV, what caption wrote, a report of evaluate",
    )
    _add_split_options(score)

    extract = add_command("extract")
    _add_data_option(extract)
    _add_encoder_options(extract)
    extract.add_argument("--splits", nargs="+", choices=config.SPLITS, default=list(config.SPLITS), help="default: all")

    train = add_command("train")
    _add_data_option(train)
    _add_encoder_options(train)
    train.add_argument(
        "--name", type=_name, help="name in artifacts/ (default: it says encoder, data, photos and seed)"
    )
    train.add_argument(
        "--replace", action="store_true", help="take the place of a captioner of that name, which is kept as NAME~1"
    )
    train.add_argument(
        "--photos", type=_positive, default=0, metavar="N", help="only so many of each split, for a try (default: all)"
    )
    train.add_argument(
        "--min-count",
        type=_positive,
        default=config.MIN_WORD_COUNT,
        metavar="N",
        help=f"words seen less often are left out (default: {config.MIN_WORD_COUNT})",
    )
    train.add_argument("--epochs", type=_positive, metavar="N", help="default: what suits the number of captions")
    train.add_argument(
        "--crops", type=_not_negative, metavar="N", help=f"of each photo (default: {config.TrainingConfig.num_crops})"
    )
    train.add_argument(
        "--tuning-epochs",
        type=_not_negative,
        metavar="N",
        help="in which the encoder's last stages learn too, 0 for none "
        f"(default: at most {config.FineTuningConfig.epochs})",
    )
    train.add_argument(
        "--rounds",
        type=_not_negative,
        metavar="N",
        help=f"of self-critical training, 0 for none (default: {config.SelfCriticalConfig.rounds})",
    )
    train.add_argument(
        "--beams",
        type=_positive,
        default=config.DecodingConfig.num_beams,
        metavar="N",
        help=f"width of the captioner's search (default: {config.DecodingConfig.num_beams})",
    )
    train.add_argument("--test", action="store_true", help="measure it on the test split, too, in the end")
    train.add_argument("--seed", type=_not_negative, default=config.RecipeConfig.seed, metavar="N")
    train.add_argument("--attend-to", choices=("regions", "slots"), default=config.DecoderConfig.attend_to)
    train.add_argument("--attention", choices=("inside", "after"), default=config.DecoderConfig.attention)

    distill = add_command("distill")
    _add_data_option(distill)
    distill.add_argument("--teacher", default="mobilenet_v2", help="encoder to learn from (default: mobilenet_v2)")
    distill.add_argument(
        "--without-teacher",
        action="store_true",
        help="learn from the captions' words alone, for comparison; the teacher judges all the same",
    )
    distill.add_argument(
        "--drawings", type=_not_negative, default=2000, metavar="N", help="drawn pictures besides (default: 2000)"
    )
    distill.add_argument(
        "--batch-size", type=_positive, metavar="N", help="views in a step (default: 64; 256 suits a GPU)"
    )
    distill.add_argument("--views", type=_positive, metavar="N", help="views in all (default: 500,000)")
    distill.add_argument("--seed", type=_not_negative, default=0, metavar="N")
    distill.add_argument(
        "--name", type=_name, help="folder in data/distillation/ (default: compact, and whom it learns from)"
    )

    download = add_command("download")
    download.add_argument("--folder", type=Path, metavar="DIR", help="default: data/flickr8k")

    add_command("page", epilog="Streamlit's variables set it up, for example STREAMLIT_SERVER_PORT=8600.")
    return parser


def _add_caption_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="photos, folders of photos, or - for paths on standard input"
    )
    _add_search_options(command)
    command.add_argument(
        "--length-penalty",
        type=_not_negative_number,
        metavar="X",
        help="0 favours short captions, 3 long ones (default: the captioner's, mostly 1.5)",
    )
    command.add_argument(
        "--alternatives", type=_not_negative, default=0, metavar="N", help="further captions of each photo (default: 0)"
    )
    command.add_argument(
        "--format", choices=tuple(output.LAYOUTS), help="default: what the ending of FILE says, else text"
    )
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="write there, - for standard output (default: to the screen)"
    )
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on after what FILE holds, csv or jsonl (default: a FILE that exists becomes FILE~1)",
    )
    command.add_argument(
        "--sidecar",
        action="store_true",
        help="write each caption beside its photo, too, as photo.jpg.txt and photo.jpg.xmp (default: write none)",
    )
    command.add_argument(
        "--replace", action="store_true", help="replace sidecars and keep them as NAME~1 (default: they stay)"
    )
    command.add_argument(
        "--quiet", action="store_true", help="say nothing but what went wrong (default: tell what is being done)"
    )

    def check(options: argparse.Namespace) -> None:
        options.output = None if options.output == Path("-") else options.output
        ending = options.output.suffix.lower() if options.output else ""
        options.format = options.format or output.ENDINGS.get(ending, "text" if not ending else None)
        if options.format is None:
            command.error(f"--output {options.output}: end it with {', '.join(output.ENDINGS)}, or say which --format")
        if options.resume and (options.output is None or options.format not in output.RESUMABLE):
            command.error("--resume needs --output FILE and --format csv or jsonl")
        if options.replace and not options.sidecar:
            command.error("--replace needs --sidecar: a FILE that exists is kept as FILE~1 without being asked")

    command.set_defaults(check=check)


def _add_search_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--captioner", metavar="NAME", help="a name in artifacts/, or a folder (default: the best in artifacts/)"
    )
    command.add_argument(
        "--num-beams",
        type=_positive,
        metavar="N",
        help="width of the search: more is slower, and seldom better beyond 5 (default: the captioner's, mostly 3)",
    )


def _add_encoder_options(command: argparse.ArgumentParser) -> None:
    encoders = "vgg16, efficientnet_lite2, mobilenet_v2, compact or auto (default)"
    command.add_argument("--encoder", default="auto", help=encoders)
    command.add_argument(
        "--encoder-weights",
        type=Path,
        metavar="PATH",
        help="weights of that encoder, a file or what distill made (default: those that come with the encoder)",
    )
    command.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        default=config.MIRRORED,
        help="average what the encoder sees in a photo and in its mirror image (default: it does)",
    )

    def check(options: argparse.Namespace) -> None:
        if options.encoder_weights and options.encoder == "auto":
            command.error("--encoder-weights needs --encoder, the network that they are of")

    command.set_defaults(check=check)


def _add_data_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data set, or drawn for the drawings (default: FLICKR8K_DIR, else data/flickr8k)",
    )


def _add_split_options(command: argparse.ArgumentParser) -> None:
    _add_data_option(command)
    command.add_argument("--split", choices=_SPLIT_CHOICES, required=True, help="the photos to score on")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the JSON there instead of to the screen")


def _name(text: str) -> str:
    if not text or text != Path(text).name or text.startswith("."):
        raise argparse.ArgumentTypeError(f"must be a name of one folder, not {text!r}")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, not {text!r}")
    return int(text)


def _not_negative_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, not {text!r}")
    return number
