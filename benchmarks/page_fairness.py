"""Measures how long one visitor waits for one photo while another does as much as one visitor can.

    python -m benchmarks.page_fairness artifacts/compact [--source $FLICKR8K_DIR/Images]

The other asks for the page 2,000 times and comes back when it is sent away, gives a hundred photos, or gives bombs and
photos that take seconds to decode. Quiet and disturbed measurements take turns. Writes
`artifacts/results/page_fairness.json`.
"""

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import websockets

from benchmarks import hostile_photos, page_server, page_visitor

_ROUNDS = 3
# Seconds between two photos of the visitor who is measured. A photo is two messages, and the server has who sends more
# than two a second wait.
_PAUSE = 1.0


def time_photo(visitor: page_visitor.Visitor, content: bytes) -> float:
    """Gives a photo, in the time of a person, and returns the milliseconds to its caption."""
    time.sleep(_PAUSE)
    name, start = f"{time.monotonic_ns()}.jpg", time.perf_counter()
    statuses = visitor.show({name: content})
    visitor.wait(lambda: name in visitor.captions)
    milliseconds = 1000 * (time.perf_counter() - start)
    if name not in visitor.captions:
        raise RuntimeError(f"A photo has no caption: upload {statuses}, {visitor.problems or 'nothing said'}.")
    visitor.wait()
    return milliseconds


def ask_often(visitor: page_visitor.Visitor, contents: list[bytes]) -> None:
    """Asks for the page 2,000 times at once, and stays as long as it may."""
    visitor.show({f"{number}.jpg": content for number, content in enumerate(contents[:3])})
    with contextlib.suppress(websockets.ConnectionClosed):
        for _ in range(2000):
            visitor.rerun()
        while True:
            visitor.wait()


def give_many(visitor: page_visitor.Visitor, contents: list[bytes]) -> None:
    """Gives a hundred photos."""
    visitor.show({f"{time.monotonic_ns()}-{number}.jpg": contents[number % len(contents)] for number in range(100)})
    visitor.wait()


def give_bombs(visitor: page_visitor.Visitor, contents: list[bytes]) -> None:
    """Gives all hostile photos and some that take seconds to decode."""
    hostile = hostile_photos.make_hostile_photos() | {
        f"slow{n}.jpg": hostile_photos.make_slow_photo() for n in range(3)
    }
    visitor.show({f"{time.monotonic_ns()}-{name}": content for name, content in hostile.items()})
    visitor.wait()


@contextlib.contextmanager
def disturb(url: str, attack: Callable, contents: list[bytes]) -> Iterator[None]:
    """Has another visitor do something, over and over; leaving the block waits until its last turn is over."""
    ready, done, faults = threading.Event(), threading.Event(), []

    def repeat() -> None:
        try:
            while not done.is_set():
                visitor = page_visitor.Visitor(url)
                ready.set()
                attack(visitor, contents)
                visitor.leave()
        except Exception as error:  # Said after the block: a thread's own error would be lost.
            faults.append(error)
            ready.set()

    thread = threading.Thread(target=repeat)
    thread.start()
    ready.wait()
    time.sleep(1)
    try:
        yield
    finally:
        done.set()
        thread.join()
    if faults:
        raise faults[0]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, help="folder of a captioner")
    parser.add_argument("--photos", type=int, default=10, metavar="N", help="in each measurement (default: 10)")
    parser.add_argument("--source", type=Path, metavar="DIR", help="photos to enlarge (default: random patches)")
    options = parser.parse_args()
    attacks = {"2000_reruns": ask_often, "100_photos": give_many, "bombs": give_bombs}
    quiet, disturbed = [], {name: [] for name in attacks}
    with tempfile.TemporaryDirectory() as folder, page_server.run_page(options.captioner) as (url, _):
        paths = page_server.make_photos(Path(folder), options.photos, options.source, megapixels=12)
        contents = [path.read_bytes() for path in paths]
        visitor = page_visitor.Visitor(url)
        time_photo(visitor, contents[0])
        for _ in range(_ROUNDS):
            for name, attack in attacks.items():
                quiet += [time_photo(visitor, content) for content in contents]
                with disturb(url, attack, contents):
                    disturbed[name] += [time_photo(visitor, content) for content in contents]
    result = {"captioner": options.captioner.resolve().name, "megapixels": 12, "quiet": page_server.summarize(quiet)}
    for name, milliseconds in disturbed.items():
        ratio = round(float(np.median(milliseconds) / np.median(quiet)), 2)
        result[name] = page_server.summarize(milliseconds) | {"times_quiet": ratio}
    page_server.write_result("page_fairness", result)


if __name__ == "__main__":
    main()
