"""What can be said on the command line: the options of every command, their defaults and what is wrong usage."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from captioner import __version__, config, output
from captioner.command_line import options
from captioner.training import tuning


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
    # Called by the name that it was started by.
    parser = build_parser(commands, "captioner" if Path(sys.argv[0]).stem == "captioner" else "python -m captioner")
    parsed = parser.parse_args(arguments)
    if parsed.run is None:
        parser.print_help(sys.stderr)
        parser.exit(2)
    parsed.check(parsed)
    return parsed


def build_parser(runs: Mapping[str, Callable], name: str) -> argparse.ArgumentParser:
    """Returns the parser of a program of this name; `runs` as for `parse_arguments`."""
    parser = _Parser(
        prog=name,
        description="Caption photos; train and score captioners.",
        epilog="%(prog)s COMMAND --help tells more of a command.",
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")

    def add_command(name: str, **more) -> argparse.ArgumentParser:
        doc = runs[name].__doc__ or ""
        command = commands.add_parser(name, help=doc.rstrip("."), description=doc, **more)
        command.set_defaults(run=runs[name], check=lambda _: None)
        return command

    options.add_caption_options(
        add_command("caption", epilog=options.CAPTION_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    )

    evaluate = add_command("evaluate")
    options.add_search_options(evaluate)
    options.add_split_options(evaluate)

    score = add_command("score")
    score.add_argument(
        "captions",
        type=Path,
        metavar="CAPTIONS",
        help="image id -> caption as JSON, COCO's results, JSON lines, CSV, what caption wrote, a report of evaluate",
    )
    options.add_split_options(score)

    extract = add_command("extract")
    extract.add_argument("paths", nargs="*", metavar="PATH", help="with --ray: photos, Parquet files, folders of them")
    options.add_data_option(extract)
    options.add_encoder_options(extract)
    extract.add_argument("--splits", nargs="+", choices=config.SPLITS, default=list(config.SPLITS), help="default: all")
    extract.add_argument("--output", type=Path, metavar="DIR", help="with --ray: the folder for files of features")
    extract.add_argument("--resume", action="store_true", help="with --ray: go on after the files in DIR")
    extract.add_argument("--replace", action="store_true", help="with --ray: set aside a DIR that exists, as DIR~1")
    extract.add_argument("--quiet", action="store_true", help="with --ray: say nothing but what went wrong")
    options.add_ray_options(extract, "paths", "output", "resume", "replace", "quiet")

    train = add_command("train")
    options.add_data_option(train)
    options.add_encoder_options(train)
    options.add_name_options(train, "encoder, data, photos and seed")
    options.add_number(train, "photos", 1, "only so many of each split, for a try (default: all)", default=0)
    options.add_number(train, "min-count", 1, "words seen less often are left out", default=config.MIN_WORD_COUNT)
    options.add_number(train, "epochs", 1, "default: what suits the number of captions")
    options.add_number(train, "crops", 0, f"of each photo (default: {config.TrainingConfig.num_crops})")
    most = config.FineTuningConfig.epochs
    told = f"in which the encoder's last stages learn too, 0 for none (default: at most {most})"
    options.add_number(train, "tuning-epochs", 0, told)
    rounds = config.SelfCriticalConfig.rounds
    options.add_number(train, "rounds", 0, f"of self-critical training, 0 for none (default: {rounds})")
    options.add_number(train, "beams", 1, "width of the captioner's search", default=config.DecodingConfig.num_beams)
    train.add_argument("--test", action="store_true", help="measure it on the test split, too, in the end")
    options.add_number(train, "seed", 0, "of weights, order and dropout", default=config.RecipeConfig.seed)
    train.add_argument(
        "--attend-to",
        choices=("regions", "slots"),
        default=config.DecoderConfig.attend_to,
        help="whether attention ranges over the photo's regions or over parts of its one vector (default: regions)",
    )
    train.add_argument(
        "--attention",
        choices=("inside", "after"),
        default=config.DecoderConfig.attention,
        help="whether what was attended to goes into the LSTM or only into the word after it (default: inside)",
    )

    tune = add_command("tune")
    options.add_data_option(tune)
    tune.add_argument("--encoder", choices=config.ENCODERS, required=True, help="the network that learns as a whole")
    tune.add_argument(
        "--teachers",
        nargs="+",
        default=[],
        metavar="NAME",
        help="captioners of the same captions that teach: names in artifacts/, or folders",
    )
    options.add_number(tune, "epochs", 1, "of encoder and decoder together", default=tuning.EndToEndConfig.epochs)
    options.add_number(tune, "rounds", 0, "of self-critical training, 0 for none", default=tuning.ROUNDS)
    tune.add_argument("--test", action="store_true", help="measure it on the test split, too, in the end")
    options.add_number(tune, "seed", 0, "of weights, order and dropout", default=config.RecipeConfig.seed)
    options.add_name_options(tune, "encoder, data, seed and whether it was taught")

    shrink = add_command("shrink")
    shrink.add_argument("captioner", metavar="CAPTIONER", help="its name in artifacts/, or its folder")
    options.add_data_option(shrink)
    shrink.add_argument("--test", action="store_true", help="measure it on the test split, too")
    options.add_name_options(shrink, "the captioner's, with compact for mobilenet_v2")

    download = add_command("download")
    download.add_argument("--folder", type=Path, metavar="DIR", help="default: data/flickr8k")

    completion = add_command(
        "completion",
        epilog="bash: captioner completion bash > ~/.local/share/bash-completion/completions/captioner; "
        "zsh: captioner completion zsh > DIR/_captioner, where DIR is one of $fpath; "
        "fish: captioner completion fish > ~/.config/fish/completions/captioner.fish",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that you use")

    add_command("page", epilog="Streamlit's variables set it up, for example STREAMLIT_SERVER_PORT=8600.")
    return parser
