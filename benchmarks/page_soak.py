"""Lets many visitors use the page for minutes, with good, broken and hostile photos, and checks that nothing breaks.

    python -m benchmarks.page_soak artifacts/compact [--minutes 10] [--source $FLICKR8K_DIR/Images]

Every good photo must get the caption that the command gives it, every other one a sentence. Writes
`artifacts/results/page_soak.json`; exits with 1 if anything was wrong.
"""

import argparse
import collections
import random
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks import fuzz_photos, hostile_photos, page_load, page_server, page_visitor

# Photos that are damaged at random, beside the hostile ones.
_NUM_BROKEN = 200
# Seconds after which the server has given back what visitors left, see `disconnectedSessionTTL`.
_GIVE_BACK_SECONDS = 60


class Soak:
    """Visitors that come and go.

    Args:
        url: The page's address.
        expected: Good photos with the captions that they must get.
        broken: Contents of photos that may get a caption or a sentence.
    """

    def __init__(self, url: str, expected: dict[Path, str], broken: list[bytes]):
        self._url, self._expected, self._broken, self._end, self._num_runs = url, expected, broken, 0.0, 0
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []

    def run(self, sessions: int, seconds: float) -> None:
        """Lets so many visitors in, one after another at each place, and waits until the last has left."""
        self._end, self._num_runs = time.monotonic() + seconds, self._num_runs + 1
        seeds = range(sessions * self._num_runs, sessions * (self._num_runs + 1))
        threads = [threading.Thread(target=self._visit_often, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visit_often(self, seed: int) -> None:
        choice = random.Random(seed)
        while time.monotonic() < self._end:
            try:
                self._visit(choice)
            except Exception as error:  # A visitor who is thrown out is what is looked for.
                self.faults.append(f"{type(error).__name__}: {error}")
                time.sleep(1)

    def _visit(self, choice: random.Random) -> None:
        visitor = page_visitor.Visitor(self._url)
        self.counts["visits"] += 1
        for _ in range(choice.randint(1, 6)):
            if time.monotonic() > self._end:
                break
            good = {
                f"{choice.random()}.jpg": path for path in choice.sample(list(self._expected), choice.randint(1, 3))
            }
            bad = {f"{choice.random()}.png": content for content in choice.sample(self._broken, choice.randint(0, 2))}
            uploads = [*((name, path.read_bytes()) for name, path in good.items()), *bad.items()]
            choice.shuffle(uploads)
            visitor.show(dict(uploads))
            visitor.wait()
            self._check(visitor, good, bad)
            if choice.random() < 0.1:
                visitor.clear_cache()
        visitor.leave()

    def _check(self, visitor: page_visitor.Visitor, good: dict[str, Path], bad: dict[str, bytes]) -> None:
        captions = visitor.captions
        self.counts.update(photos=len(good), bad_photos=len(bad), sentences=len(visitor.problems))
        wrong = [
            (name, captions.get(name)) for name, path in good.items() if captions.get(name) != self._expected[path]
        ]
        foreign = set(captions) - set(good) - set(bad)
        unsaid = len(bad) - len(set(captions) & set(bad)) - len(visitor.problems)
        self.faults += [f"wrong: {name} {caption}" for name, caption in wrong]
        self.faults += [f"foreign: {name}" for name in foreign]
        self.faults += [f"{unsaid} photos without a word"] if unsaid else []
        self.faults += [f"trace: {trace}" for trace in visitor.traces]


def measure_megabytes(process: psutil.Process) -> dict[str, int]:
    """Returns the memory of the server and of the processes that decode for it, in megabytes."""
    decoders = sum(child.memory_info().rss for child in process.children() if child.is_running())
    return {"server": process.memory_info().rss // 1_000_000, "decoders": decoders // 1_000_000}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captioner", type=Path, help="folder of a captioner")
    parser.add_argument("--sessions", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="default: 10")
    parser.add_argument("--source", type=Path, metavar="DIR", help="photos to enlarge (default: random patches)")
    options = parser.parse_args()
    broken = [content for _, _, content in fuzz_photos.draw_photos(_NUM_BROKEN, seed=2)]
    broken += 10 * list(hostile_photos.make_hostile_photos().values())
    with tempfile.TemporaryDirectory() as folder:
        good, log = Path(folder) / "good", Path(folder) / "log"
        good.mkdir()
        paths = page_server.make_photos(good, 30, options.source, megapixels=2)
        captions = page_load.caption_alone(options.captioner, good)
        expected = {path: captions[path.name] for path in paths}
        with page_server.run_page(options.captioner, log) as (url, server):
            process, memory = psutil.Process(server.pid), []
            soak = Soak(url, expected, broken)
            for _ in range(max(1, round(options.minutes))):
                soak.run(options.sessions, seconds=60)
                memory.append(measure_megabytes(process))
            time.sleep(_GIVE_BACK_SECONDS)
            after, alive = measure_megabytes(process), server.poll() is None
        traces = log.read_text(encoding="utf-8", errors="replace").count("Traceback")
    result = {"captioner": options.captioner.resolve().name, "sessions": options.sessions, "minutes": options.minutes}
    result |= dict(soak.counts) | {"faults": len(soak.faults), "first_faults": soak.faults[:10]}
    result |= {"trace_backs_in_log": traces, "server_lives": alive}
    result |= {"megabytes_after_each_minute": memory, "megabytes_after_all_left": after}
    page_server.write_result("page_soak", result)
    if soak.faults or traces or not alive:
        raise SystemExit("Not everything held.")


if __name__ == "__main__":
    main()
