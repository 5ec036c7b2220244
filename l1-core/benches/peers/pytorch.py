"""Times PyTorch on the works of the benchmark `side_by_side`, and prints the seconds for one iteration of each as JSON.

f32 on the CPU, all cores. The works take turns, round after round, so that a busy machine spoils all alike; each figure
is a median over the rounds. Where PyTorch has several ways to do a work, each is timed ("variants") and the fastest
one counts ("works"). `torch.compile` needs a C++ compiler and is timed only with --compile; it does not count.

    pip install -r requirements.txt
    python pytorch.py [--rounds N] [--compile] [--out FILE]
"""

import argparse
import json
import math
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

LAMBDA = 1e-3
LR = 1e-3
SHARE_S = 0.05  # a variant runs about this long in each round
MAX_REPEATS = 2000

# The cores that this process may use, which a container or taskset can make fewer. Not every system tells.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
torch.set_num_threads(CORES)
torch.manual_seed(0)


# ---------------------------------------------------------------------------------------------- the prox, as users write it


def shrink_copy(parameters, threshold):
    for p in parameters:
        p.copy_(F.softshrink(p, threshold))


def shrink_out(parameters, threshold):
    for p in parameters:
        torch._C._nn.softshrink(p, threshold, out=p)  # F.softshrink without its temporary


def shrink_foreach(parameters, threshold):
    clamped = torch._foreach_clamp_min(parameters, -threshold)
    torch._foreach_clamp_max_(clamped, threshold)
    torch._foreach_sub_(parameters, clamped)


SHRINKS = {"softshrink_copy": shrink_copy, "softshrink_out": shrink_out, "foreach_clamp": shrink_foreach}


def check_shrinks():
    z = torch.randn(1000)
    for name, shrink in SHRINKS.items():
        found = z.clone()
        shrink([found], 0.3)
        torch.testing.assert_close(found, F.softshrink(z, 0.3), msg=name)


# ---------------------------------------------------------------------------------------------- works


class Tensors:
    """Weights and the loss's gradients: `count` tensors of one shape. Every work sees the same storage."""

    def __init__(self, count, shape):
        self.weights = [0.05 * torch.randn(shape) for _ in range(count)]
        self.gradients = [0.01 * torch.randn(shape) for _ in range(count)]

    def leaves(self):
        return [w.detach().requires_grad_() for w in self.weights]

    def with_gradients(self):
        parameters = self.leaves()
        for p, g in zip(parameters, self.gradients):
            p.grad = g
        return parameters


def value(tensors):
    def abs_sum():
        return LAMBDA * sum(w.abs().sum() for w in tensors.weights)

    def vector_norm():
        return LAMBDA * sum(torch.linalg.vector_norm(w, 1) for w in tensors.weights)

    def foreach_norm():
        return LAMBDA * sum(torch._foreach_norm(tensors.weights, 1))

    return {"abs_sum": abs_sum, "vector_norm": vector_norm, "foreach_norm": foreach_norm}


def value_and_gradient_backward(tensors):
    """The penalty in the loss: its forward and its part of backward, from no gradients."""
    leaves = tensors.leaves()

    def backward(penalty_of):
        for leaf in leaves:
            leaf.grad = None
        (LAMBDA * sum(penalty_of(leaf) for leaf in leaves)).backward()

    return {
        "abs_sum": lambda: backward(lambda w: w.abs().sum()),
        "vector_norm": lambda: backward(lambda w: torch.linalg.vector_norm(w, 1)),
    }


def add_subgradient(tensors):
    """After backward, into the gradients."""

    @torch.no_grad()
    def loop():
        for w, g in zip(tensors.weights, tensors.gradients):
            g.add_(w.sign(), alpha=LAMBDA)

    @torch.no_grad()
    def foreach():
        torch._foreach_add_(tensors.gradients, torch._foreach_sign(tensors.weights), alpha=LAMBDA)

    return {"add_subgradient": loop, "add_subgradient_foreach": foreach}


def steps(make_optimizers, parameters, compiled):
    """An optimizer's step, then the prox with step lr: each optimizer with each way to write the prox."""

    def both(optimizer, shrink):
        optimizer.step()
        with torch.no_grad():
            shrink(parameters, LR * LAMBDA)

    variants = {}
    for kind, make in make_optimizers.items():
        optimizer = make(parameters)
        for name, shrink in SHRINKS.items():
            variants[f"{kind}+{name}"] = lambda optimizer=optimizer, shrink=shrink: both(optimizer, shrink)
    if compiled:
        optimizer = make_optimizers["foreach"](parameters)
        optimizer.step()  # makes the state, which is not to be compiled
        variants["compile"] = torch.compile(lambda: both(optimizer, shrink_copy))
    return variants


def adamw_optimizers():
    return {
        kind: lambda p, kind=kind: torch.optim.AdamW(p, lr=LR, weight_decay=0.0, **{kind: True})
        for kind in ("fused", "foreach")
    }


def sgd_optimizers():
    return {
        kind: lambda p, kind=kind: torch.optim.SGD(p, lr=LR, momentum=0.9, **{kind: True})
        for kind in ("fused", "foreach")
    }


def lenet():
    """LeNet-300-100: forward, backward and, in the second work, fused AdamW and the prox of the weights."""
    x, labels = torch.randn(128, 784), torch.randint(10, (128,))
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.05)
    weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0, fused=True)

    def forward_backward():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), labels).backward()

    def step(shrink):
        forward_backward()
        optimizer.step()
        with torch.no_grad():
            shrink(weights, LR * LAMBDA)

    training = {f"fused+{name}": lambda shrink=shrink: step(shrink) for name, shrink in SHRINKS.items()}
    return {"eager": forward_backward}, training


def works(compiled):
    """By name: the ways to do it, by name."""
    large = Tensors(16, (1024, 1024))  # 16.8 M parameters
    small = Tensors(200, (1000,))
    forward_backward, training = lenet()
    return {
        "value": value(large),
        "value_and_gradient_backward": value_and_gradient_backward(large),
        "add_subgradient": add_subgradient(large),
        "adamw": steps(adamw_optimizers(), large.with_gradients(), compiled),
        "sgd_momentum": steps(sgd_optimizers(), large.with_gradients(), compiled),
        "small_tensors": steps(adamw_optimizers(), small.with_gradients(), compiled),
        "lenet_forward_backward": forward_backward,
        "lenet_step": training,
    }


# ---------------------------------------------------------------------------------------------- timing


def seconds(run, repeats):
    """For one iteration."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def measure(all_works, rounds):
    """Medians, by work and variant."""
    runs = {(work, name): run for work, variants in all_works.items() for name, run in variants.items()}
    repeats = {}
    for key, run in runs.items():
        seconds(run, 2)  # warm: memory, the optimizer's state, compilation
        repeats[key] = min(MAX_REPEATS, max(1, math.ceil(SHARE_S / seconds(run, 3))))
    times = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            times[key].append(seconds(run, repeats[key]))
    medians = {work: {} for work in all_works}
    for (work, name), found in times.items():
        medians[work][name] = statistics.median(found)
    return medians


def fastest_eager(variants):
    return min(time for name, time in variants.items() if name != "compile")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--compile", action="store_true", help="time torch.compile too")
    parser.add_argument("--out", help="file for the JSON, instead of stdout")
    args = parser.parse_args()

    check_shrinks()
    medians = measure(works(args.compile), args.rounds)
    result = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "rounds": args.rounds,
        "works": {work: fastest_eager(variants) for work, variants in medians.items()},
        "variants": medians,
    }
    with open(args.out, "w") if args.out else sys.stdout as out:
        json.dump(result, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    main()
