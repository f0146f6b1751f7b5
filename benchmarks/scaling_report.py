"""The section of `benchmarks/README.md` on many machines: what a cluster showed, what 100 million photos would cost.

See `benchmarks.ray_cluster`, which measures.
"""

_MANY = 100_000_000
_CORES_BESIDE_GPU = 16
_GIGABITS = 10
_NAMES = {
    "alone": "one process, two cores",
    "one_node": "Ray, one node with one core",
    "two_nodes": "Ray, two nodes with one core each",
    "one_of_two_killed": "Ray, two nodes, one killed half way",
}


def reckon(stages: dict[str, float]) -> dict[str, float]:
    """Returns what 100 million photos cost, from the work of each stage for a photo.

    Args:
        stages: `reading_ms`, `encoding_ms` and `search_ms` of one core, and `kilobytes` of a file.

    Returns:
        Hours of one core for each stage and together; `terabytes` to read; with a GPU that does encoding and search,
        the photos a second that the cores beside it can read, and the hours of such a machine if reading limits it;
        how many machines, with a GPU and without, a network to the photos can feed.
    """
    hours = {stage: stages[f"{stage}_ms"] / 1000 * _MANY / 3600 for stage in ("reading", "encoding", "search")}
    read_per_s = _CORES_BESIDE_GPU * 1000 / stages["reading_ms"]
    core_per_s = 1000 / sum(stages[f"{stage}_ms"] for stage in hours)
    network_per_s = _GIGABITS * 1e9 / 8 / (stages["kilobytes"] * 1000)
    return hours | {
        "together": sum(hours.values()),
        "terabytes": stages["kilobytes"] * _MANY / 1e9,
        "gpu_machine_reads_per_s": read_per_s,
        "gpu_machine": _MANY / read_per_s / 3600,
        "gpu_machines_on_network": network_per_s / read_per_s,
        "cores_on_network": network_per_s / core_per_s,
    }


def build_section(result: dict) -> str:
    """Returns the section as Markdown; `result` is what `benchmarks.ray_cluster` wrote."""
    return f"{_write_runs(result)}\n\n{_write_costs(result)}\n"


def _write_runs(result: dict) -> str:
    runs, killed = result["runs"], result["runs"]["one_of_two_killed"]
    one, two = runs["one_node"], runs["two_nodes"]
    heads = ("", "seconds to the first file", "photos/s from then on", "busy cores", "seconds in all")
    keys = ("first_after_s", "photos_per_s", "busy_cores", "total_s")
    table = [
        heads,
        ["---"] * len(heads),
        *([label, *(runs[name][key] for key in keys)] for name, label in _NAMES.items()),
    ]
    return f"""## Many machines: a Ray cluster of two nodes on this one

{result["photos"]:,} photos, two of them broken, with `{result["captioner"]}`, {result["photos_per_file"]} to a file:

{_draw_table(table)}

With one of two nodes killed half way: {killed["photos"]:,} rows, {killed["missing"]} photos missing, \
{killed["twice"]} there twice, {killed["failed"]} with the reason why they have no caption, and \
{killed["different_captions"]} rows that differ from those of one process. What the dead node had in hand waits until \
the other one has done the rest; then its worker is started anew there.

Two workers are {two["photos_per_s"] / one["photos_per_s"]:.2f} times as fast as one. One keeps \
{one["busy_cores"]} of {result["cores"]} cores busy and two keep {two["busy_cores"]}: a worker encodes and searches on \
one core, and the processes that read its photos, and Ray's own, take from the others. The cores are the limit, not Ray.

(`python -m benchmarks.ray_cluster artifacts/{result["captioner"]} --source DIR`, {result["date"]}, {result["cores"]} \
cores, load {result["load_average"]:.1f} in the end, Ray {result["ray"]}, TensorFlow \
{result["versions"]["tensorflow"]}. Busy cores are the machine's, whoever keeps them busy.)"""


def _write_costs(result: dict) -> str:
    small, camera = result["stages"], result["camera"]
    costs = reckon(small), reckon(camera)
    heads = (
        "",
        f"photos of {small['kilobytes']} kB",
        f"of {camera['megapixels']} megapixels, {camera['kilobytes']} kB",
    )
    rows = {
        "reading and decoding, core-hours": "reading",
        "encoder, core-hours": "encoding",
        "search of captions, core-hours": "search",
        "together, core-hours": "together",
        "to read, TB": "terabytes",
        f"cores that {_GIGABITS} Gbit/s keep busy": "cores_on_network",
        f"{_CORES_BESIDE_GPU} cores beside a GPU can read, photos/s": "gpu_machine_reads_per_s",
        "hours of such a machine, if a GPU does all but reading": "gpu_machine",
        f"such machines that {_GIGABITS} Gbit/s keep busy": "gpu_machines_on_network",
    }
    table = [heads, ["---"] * 3, *([label, *(_round(cost[key]) for cost in costs)] for label, key in rows.items())]
    return f"""## What 100 million photos cost

Reckoned from the work of one core for each stage with `{result["captioner"]}`, measured in the same run: reading \
{small["reading_ms"]} ms a photo ({camera["reading_ms"]} ms for {camera["megapixels"]} megapixels), encoder \
{small["encoding_ms"]} ms, search {small["search_ms"]} ms.

{_draw_table(table)}

- **On cores**, {_name_largest(small)} takes most for small photos and {_name_largest(camera)} for those of a camera. \
A two-core machine needs half as many hours as there are core-hours. Workers share nothing but the disk, so machines \
add up until it or the network is full.
- **With GPUs**, which were not at hand to measure, encoder and search leave the cores and reading remains. The hours \
above are the least it can cost: what a GPU captions beyond what its cores read is lost. The remedy is smaller files \
or more cores for each GPU.
- **The network** is full where the table says; beyond that, photos belong near the workers. What Ray itself carries \
is names and counts."""


def _name_largest(stages: dict) -> str:
    labels = {"reading": "reading", "encoding": "the encoder", "search": "the search"}
    return labels[max(labels, key=lambda stage: stages[f"{stage}_ms"])]


def _round(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _draw_table(rows: list) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
