"""Runs `side_by_side` and `pytorch.py` in turns and joins their tables.

    pip install -r requirements.txt
    python compare.py [--passes N] [--rounds N]

Each pass runs both programs one after the other; a figure is the median over the passes. Keep the machine idle.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

# Key in both files, what the table says.
WORKS = [
    ("value", "penalty value"),
    ("value_and_gradient_backward", "value + gradient, through backward"),
    ("add_subgradient", "value + gradient, in place after backward"),
    ("adamw", "AdamW + L1 to zeros"),
    ("adamw_guard_before", "AdamW + L1 to zeros, Guard::Before"),
    ("sgd_momentum", "SGD with momentum + L1 to zeros"),
    ("sgd_momentum_guard_before", "SGD with momentum + L1, Guard::Before"),
    ("small_tensors", "200 tensors of 1 k, AdamW + L1"),
    ("lenet_step", "LeNet-300-100, batch 128, end to end"),
]
# The variant that users write, by PyTorch's public operations; the fastest one may use private ones.
PLAIN = {
    "value": "abs_sum",
    "value_and_gradient_backward": "abs_sum",
    "add_subgradient": "add_subgradient",
    "adamw": "fused+softshrink_copy",
    "sgd_momentum": "fused+softshrink_copy",
    "small_tensors": "fused+softshrink_copy",
    "lenet_step": "fused+softshrink_copy",
}
# The same work of PyTorch's, which has no guard.
PEER_OF = {"adamw_guard_before": "adamw", "sgd_momentum_guard_before": "sgd_momentum"}


def run(command, json_option):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seconds.json"
        subprocess.run([*command, json_option, str(file)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return json.loads(file.read_text())


def milliseconds(seconds):
    return "–" if seconds is None else f"{1e3 * seconds:.2f} ms"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--passes", type=int, default=3)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments = arguments.parse_args()
    rounds = ["--rounds", str(arguments.rounds)]
    bench = ["cargo", "bench", "-q", "-p", "l1-core", "--bench", "side_by_side", "--", *rounds]
    ours, theirs = [], []
    for _ in range(arguments.passes):
        ours.append(run(bench, "--json"))
        theirs.append(run([sys.executable, str(HERE / "pytorch.py"), *rounds], "--out"))

    threads = {one["threads"] for one in ours + theirs}
    if len(threads) > 1:
        l1, pytorch = ours[0]["threads"], theirs[0]["threads"]
        sys.exit(f"l1 ran on {l1} threads and PyTorch on {pytorch}: unset RAYON_NUM_THREADS, or give both the same cores")

    def our(key, who):
        seconds = [one["works"][key][who] for one in ours if who in one["works"].get(key, {})]
        return statistics.median(seconds) if seconds else None

    def their(key):
        """The plain variant and the fastest one."""
        plain = statistics.median(one["variants"][key][PLAIN[key]] for one in theirs)
        return plain, statistics.median(one["works"][key] for one in theirs)

    print(f"PyTorch {theirs[0]['torch']}, {theirs[0]['threads']} threads; medians of {arguments.passes} passes\n")
    print("| work | l1 | PyTorch | its fastest variant | PyTorch / l1 | fastest / l1 | candle / l1 | share of the limit |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for key, title in WORKS:
        l1, candle, limit = our(key, "l1"), our(key, "candle"), our(key, "limit")
        plain, fastest = their(PEER_OF.get(key, key))
        ratio = "–" if candle is None else f"{candle / l1:.1f}×"
        share = "–" if limit is None else f"{100 * limit / l1:.0f} %"
        times = f"{milliseconds(l1)} | {milliseconds(plain)} | {milliseconds(fastest)}"
        print(f"| {title} | {times} | {plain / l1:.2f}× | {fastest / l1:.2f}× | {ratio} | {share} |")


if __name__ == "__main__":
    main()
