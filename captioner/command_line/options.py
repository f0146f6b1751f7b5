"""Options that several commands take, all those of `caption`, and what is wrong usage of them."""

import argparse
from collections.abc import Callable
from pathlib import Path

from captioner import config, output

_RAY_FORMATS = ("parquet", "csv", "jsonl")
_SPLIT_CHOICES = ("validation", "test")
CAPTION_EXAMPLES = """\
examples:
  %(prog)s dog.jpg
      shows a caption
  %(prog)s holiday/ --alternatives 2
      shows three captions of each photo in the folder and the folders in it
  %(prog)s holiday/ --output captions.csv
      writes a table row by row, so that all but the last few rows are there when
      you press Ctrl-C or the process is killed
  %(prog)s holiday/ --output captions.csv --resume
      goes on after the rows in the file, and tries again what could not be read
  %(prog)s holiday/ --sidecar
      writes each caption beside its photo, for darktable, digiKam and the like
  find . -name '*.jpg' -newer last -print0 | %(prog)s -
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
  exiftool -ext jpg -tagsFromFile %%d%%F.xmp -XMP:all DIR
  and keeps each photo as it was as photo.jpg_original. This command changes no photo,
  and no sidecar that is there already

exit codes: 0 every photo has a caption, 1 some have none, or a sidecar was not
written (they are listed at the end), or nothing could be done, 2 wrong usage,
130 stopped by Ctrl-C"""


def add_caption_options(command: argparse.ArgumentParser) -> None:
    """Adds what `caption` takes."""
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="photos, folders of photos, or - for paths on standard input"
    )
    add_search_options(command)
    command.add_argument(
        "--length-penalty",
        type=_length_penalty,
        metavar="X",
        help=f"0 to {config.MAX_LENGTH_PENALTY:g}: towards 0 short captions win, else long ones (default: as saved)",
    )
    command.add_argument(
        "--alternatives",
        type=whole_number(0, config.MAX_BEAMS - 1),
        default=0,
        metavar="N",
        help=f"further captions of each photo, 0 to {config.MAX_BEAMS - 1} (default: 0)",
    )
    command.add_argument(
        "--format",
        choices=(*output.LAYOUTS, "parquet"),
        help="default: what the ending of FILE says, else text, and parquet with --ray",
    )
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write there, - for standard output (default: to the screen); with --ray a folder",
    )
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on after what FILE holds, csv or jsonl of the same captioner and search (default: a FILE that exists "
        "becomes FILE~1)",
    )
    command.add_argument(
        "--sidecar",
        action="store_true",
        help="write each caption beside its photo, too, as photo.jpg.txt and photo.jpg.xmp (default: write none)",
    )
    command.add_argument(
        "--replace",
        action="store_true",
        help="replace sidecars, or the folder of --ray, and keep it as NAME~1 (default: no)",
    )
    command.add_argument(
        "--quiet", action="store_true", help="say nothing but what went wrong (default: tell what is being done)"
    )

    add_ray_options(command)
    check_ray = command.get_default("check")

    def check(options: argparse.Namespace) -> None:
        check_ray(options)
        if options.ray:
            options.format = options.format or "parquet"
            if options.format not in _RAY_FORMATS or options.sidecar:
                command.error(f"--ray writes --format {', '.join(_RAY_FORMATS)}, and no sidecars")
            return
        if options.format == "parquet":
            command.error("--format parquet needs --ray")
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


def add_ray_options(command: argparse.ArgumentParser, *others: str) -> None:
    """Adds what runs a command on a cluster; `others` are options that it takes there alone."""
    group = command.add_argument_group("millions of photos, on a Ray cluster")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="HOST:PORT of the cluster's head, or local for this computer alone (default: no cluster). PATH may be "
        "Parquet files with the columns bytes and path or id; --output is a folder that gets a file for every part",
    )
    group.add_argument(
        "--photos-per-file",
        type=whole_number(1),
        metavar="N",
        help="default: 1024; for Parquet input one file per row group",
    )
    group.add_argument(
        "--workers", type=whole_number(1), metavar="N", help="default: as many as the cluster has room for"
    )
    check_others = command.get_default("check")

    def check(options: argparse.Namespace) -> None:
        check_others(options)
        given = [name for name in (*others, "photos_per_file", "workers") if getattr(options, name)]
        if given and not options.ray:
            named = ("PATH" if name == "paths" else f"--{name.replace('_', '-')}" for name in given)
            command.error(f"{', '.join(named)}: only with --ray ADDRESS")
        if options.ray and (not options.paths or options.output is None):
            command.error("--ray needs PATH and --output")
        if options.ray and getattr(options, "data", None):
            command.error("--ray takes photos by PATH, not --data")

    command.set_defaults(check=check)


def add_search_options(command: argparse.ArgumentParser) -> None:
    """Adds which captioner is used and how it searches."""
    command.add_argument(
        "--captioner", metavar="NAME", help="a name in artifacts/, or a folder (default: the best in artifacts/)"
    )
    command.add_argument(
        "--num-beams",
        type=whole_number(1, config.MAX_BEAMS),
        metavar="N",
        help=f"width of the search, 1 to {config.MAX_BEAMS}: more is slower, and seldom better beyond 5 "
        "(default: the captioner's own)",
    )


def add_encoder_options(command: argparse.ArgumentParser) -> None:
    """Adds which encoder is used."""
    command.add_argument("--encoder", choices=(*config.ENCODERS, "auto"), default="auto", help="default: auto")
    command.add_argument(
        "--encoder-weights",
        type=Path,
        metavar="PATH",
        help="weights of that encoder, a file or a folder (default: those that come with the encoder)",
    )
    command.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        help="average what the encoder sees in a photo and in its mirror image (default: yes, but not with compact)",
    )

    def check(options: argparse.Namespace) -> None:
        if options.encoder_weights and options.encoder == "auto":
            command.error("--encoder-weights needs --encoder, the network that they are of")
        if options.encoder_weights and not options.encoder_weights.exists():
            command.error(f"--encoder-weights: there is no file or folder {options.encoder_weights}")

    command.set_defaults(check=check)


def add_data_option(command: argparse.ArgumentParser) -> None:
    """Adds which data set is used."""
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data set, or drawn for the drawings (default: FLICKR8K_DIR, else data/flickr8k)",
    )


def add_name_options(command: argparse.ArgumentParser, usual: str) -> None:
    """Adds what the captioner that is made is called, by default by `usual`, and whether it takes another's place."""
    command.add_argument("--name", type=folder_name, help=f"name in artifacts/ (default: it says {usual})")
    command.add_argument(
        "--replace", action="store_true", help="take the place of a captioner of that name, which is kept as NAME~1"
    )


def add_split_options(command: argparse.ArgumentParser) -> None:
    """Adds what photos are scored on, and where the scores go."""
    add_data_option(command)
    command.add_argument("--split", choices=_SPLIT_CHOICES, required=True, help="the photos to score on")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the JSON there instead of to the screen")


def add_number(
    command: argparse.ArgumentParser, name: str, least: int, told: str, *, default: int | None = None
) -> None:
    """Adds an option that takes a whole number from `least` on; where `told` does not, the default is told, too."""
    if default is not None and "default" not in told:
        told = f"{told} (default: {default})"
    command.add_argument(f"--{name}", type=whole_number(least), default=default, metavar="N", help=told)


def folder_name(text: str) -> str:
    """Reads the name of one folder."""
    if not text or text != Path(text).name or text.startswith("."):
        raise argparse.ArgumentTypeError(f"must be a name of one folder, not {text!r}")
    return text


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Returns what reads a whole number of a range, both ends included."""
    wanted = f"a whole number from {least} {'on' if most is None else f'to {most}'}"

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= (int(text) if most is None else most):
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
        return int(text)

    return read


def _length_penalty(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= config.MAX_LENGTH_PENALTY:
        wanted = f"a number from 0 to {config.MAX_LENGTH_PENALTY:g}"
        raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
    return number
