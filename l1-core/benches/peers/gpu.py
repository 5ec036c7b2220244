"""Runs `side_by_side --device cuda` and the same steps of PyTorch in turns, and joins them in one table.

    pip install -r requirements.txt
    python gpu.py [--passes N] [--rounds N] [--program FILE]
    python gpu.py --device cpu --quick      shows without a GPU that it works, and no more

A pass runs both one after the other; a figure is the median over the passes. Nothing else may run on the GPU.
PyTorch's step is the fused AdamW, and then the prox of step lr·λ in place of l1's, which knows the metric: each coordinate there has
a step of its own. So PyTorch does a little less work.
"""

import argparse
import statistics
import sys
import time

import torch

from compare import run
from pytorch import LAMBDA, LR, SHRINKS, check_shrinks

FILLED_S = 0.02  # steps in a row between two waits for the device
WARM = 3
COPIED, COPIED_QUICK = 1 << 28, 1 << 24  # f32


def shrink_by_sign(parameters, threshold):
    """sign(p)·max(|p| − t, 0), word for word."""
    sizes = torch._foreach_abs(parameters)
    torch._foreach_sub_(sizes, threshold)
    torch._foreach_clamp_min_(sizes, 0.0)
    signs = torch._foreach_sign(parameters)
    torch._foreach_mul_(signs, sizes)
    torch._foreach_copy_(parameters, signs)


SHRINKS["foreach_sign"] = shrink_by_sign


class Steps:
    """Weights with fixed gradients, under one optimizer: every way to write the prox steps the same storage."""

    def __init__(self, parameters, tensors, device):
        shape = (tensors, parameters // tensors)
        self.parameters = []
        for _ in range(shape[0]):
            p = (0.05 * torch.randn(shape[1], device=device)).requires_grad_()
            p.grad = 0.01 * torch.randn(shape[1], device=device)
            self.parameters.append(p)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LR, weight_decay=0.0, fused=True)

    def step(self, shrink):
        self.optimizer.step()
        with torch.no_grad():
            shrink(self.parameters, LR * LAMBDA)


def in_a_row(run_once, times, device):
    """Seconds for one, by the clock that times l1: the host goes ahead, and waits once."""
    start = time.perf_counter()
    for _ in range(times):
        run_once()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def medians(contenders, rounds, device):
    """All take turns in each round; seconds for one."""
    repeats = {}
    for name, contender in contenders.items():
        in_a_row(contender, WARM, device)
        repeats[name] = min(1000, max(2, round(FILLED_S / in_a_row(contender, WARM, device))))
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(in_a_row(contender, repeats[name], device))
    return {name: statistics.median(found) for name, found in seconds.items()}


def release_memory(device):
    """PyTorch keeps what it was given, and l1 needs it in the next pass."""
    if device == "cuda":
        torch.cuda.empty_cache()


def time_pytorch(sizes, arguments):
    """For each key: the seconds of every variant and of a copy. `None` where the memory is too small."""
    device = arguments.device
    source = torch.randn(COPIED_QUICK if arguments.quick else COPIED, device=device)
    target = torch.zeros_like(source)
    found = {}
    for key, (parameters, tensors) in sizes.items():
        try:
            steps = Steps(parameters, tensors, device)
            contenders = {name: lambda shrink=shrink: steps.step(shrink) for name, shrink in SHRINKS.items()}
            contenders["copy"] = lambda: target.copy_(source)
            found[key] = medians(contenders, arguments.rounds, device)
        except torch.OutOfMemoryError:
            found[key] = None
        steps = contenders = None
        release_memory(device)
    copied = 2 * source.element_size() * source.numel()  # read and written
    return found, copied


def l1_command(arguments):
    if arguments.program:
        command = [arguments.program]
    else:
        features = ["--features", "cuda"] if arguments.device == "cuda" else []
        command = ["cargo", "bench", "-q", "-p", "l1-core", *features, "--bench", "side_by_side", "--"]
    command += ["--device", arguments.device, "--rounds", str(arguments.rounds)]
    return command + ["--quick"] * arguments.quick


def median_of(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def microseconds(seconds):
    return "does not fit" if seconds is None else f"{1e6 * seconds:.1f} µs"


def ratio(one, other):
    return "–" if one is None or other is None else f"{one / other:.2f}×"


def row_of(key, ours, theirs, copied):
    """A line of the table: the medians over the passes."""
    step = ours[0]["steps"][key]
    l1 = median_of(one["steps"][key]["l1"] for one in ours)
    candle = median_of(one["steps"][key]["candle"] for one in ours)
    copy = median_of(one["steps"][key]["copy_bytes_per_second"] for one in ours)
    share = step["bytes"] / l1 / copy
    fitted = [one[key] for one in theirs if one[key]]
    seconds = {name: median_of(one[name] for one in fitted) for name in SHRINKS} if fitted else {}
    fastest = min(seconds, key=seconds.get) if seconds else "–"
    best, plain = seconds.get(fastest), seconds.get("foreach_sign")
    their_share = "–"
    if seconds:
        their_copy = copied / median_of(one["copy"] for one in fitted)
        their_share = f"{100 * step['bytes'] / best / their_copy:.0f} %"
    cells = [
        step["title"],
        microseconds(l1),
        microseconds(plain),
        microseconds(best),
        fastest,
        ratio(plain, l1),
        ratio(best, l1),
        ratio(candle, l1),
        f"{100 * share:.0f} %",
        their_share,
        str(step["launches"] or "–"),
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = [
    "parameters",
    "l1",
    "PyTorch, foreach_sign",
    "its fastest",
    "which is",
    "PyTorch / l1",
    "fastest / l1",
    "candle / l1",
    "l1's share of a copy",
    "PyTorch's",
    "launches of l1",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="a thousandth of the parameters")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--program", help="the benchmark `side_by_side`, if it is built already [default: cargo bench]")
    arguments = parser.parse_args()
    if arguments.device == "cpu" and not arguments.quick:
        sys.exit("on the CPU there is only --quick; compare.py has what is to be compared there")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch finds no GPU: this needs one, and a PyTorch that was built for CUDA")

    check_shrinks()
    ours, theirs = [], []
    for _ in range(arguments.passes):
        ours.append(run(l1_command(arguments), "--json"))
        # PyTorch has no guard: it is compared with the rows whose step checks nothing beforehand.
        steps = {key: step for key, step in ours[0]["steps"].items() if not key.endswith("_guard_before")}
        sizes = {key: (step["parameters"], step["tensors"]) for key, step in steps.items()}
        found, copied = time_pytorch(sizes, arguments)
        release_memory(arguments.device)
        theirs.append(found)

    print(f"{ours[0]['device']}, PyTorch {torch.__version__}; medians of {arguments.passes} passes; 28 bytes a parameter\n")
    print("| " + " | ".join(HEAD) + " |")
    print("|---" + "|---:" * 3 + "|---" + "|---:" * 6 + "|")
    for key in sorted(sizes, key=sizes.get):
        print(row_of(key, ours, theirs, copied))


if __name__ == "__main__":
    main()
