"""Whole paths of linear models: l1 beside glmnet, adelie, scikit-learn and celer, in turns, at equal certified accuracy.

    pip install -r requirements.txt
    python paths.py [--rounds N] [--accuracy A] [--rows N] [--columns P]

Three problems, 100 λ each down to λ_max/100, every program over the same λ:

* Khan's genes (63 × 2308, 4 classes, standardized), multinomial with l1 on each weight: python-glmnet.
* The same, all that one gene is used for charged together: adelie.
* Least squares, 200 × 20 000 normal numbers, 50 of the columns in use: scikit-learn's `lasso_path` and celer's `celer_path`. They fit no
  intercept: they get centred columns in the order that they want, and the time of that is not counted; l1's does what it needs itself.

Accuracy is the violation of the conditions of a minimum, relative to λ: the largest over all weights and intercepts at all λ, computed
here in f64 from the coefficients that a program returns. Each program's tolerance is lowered by powers of ten until that is at most
`--accuracy`. The programs then take turns; a figure is the median of the rounds. Keep the machine idle.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import adelie
import numpy as np
from celer import celer_path
from glmnet import LogitNet
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import lasso_path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
RATIOS = np.logspace(0, -2, 100)
warnings.simplefilter("ignore")  # what does not converge is found by its violation


# ---------------------------------------------------------------------------------------------- violations


class Multinomial:
    """Mean cross-entropy of `y` in k classes; `w` is k × p."""

    def __init__(self, x, y, grouped):
        self.x, self.y, self.grouped = x, y, grouped
        self.hot = np.eye(y.max() + 1)[y]
        k = self.hot.shape[1]
        self.weight = np.sqrt(k) if grouped else 1.0
        at_zero = (self.hot.mean(axis=0) - self.hot).T @ x / len(y)
        size = np.linalg.norm(at_zero, axis=0) if grouped else np.abs(at_zero)
        self.scales = size.max() / self.weight * RATIOS

    def violation(self, w, b, scale):
        eta = self.x @ w.T + b
        e = np.exp(eta - eta.max(axis=1, keepdims=True))
        theta = (e / e.sum(axis=1, keepdims=True) - self.hot) / len(self.y)
        return conditions(theta.T @ self.x, w, self.weight * scale, self.grouped, theta.sum(axis=0))


class Squares:
    """The mean of squares; `w` is 1 × p."""

    def __init__(self, x, y):
        self.x, self.y = x, y
        self.centred = np.asfortranarray(x - x.mean(axis=0)), (y - y.mean(axis=0))[:, 0]
        self.scales = 2 * np.abs(self.centred[0].T @ self.centred[1]).max() / len(y) * RATIOS

    def violation(self, w, b, scale):
        used = w[0] != 0
        theta = 2 * (self.x[:, used] @ w[0, used] + b - self.y[:, 0]) / len(self.y)
        return conditions((theta @ self.x)[None], w, scale, False, theta.sum())


def conditions(gradient, w, strength, grouped, free):
    """The largest distance of −gradient to the subdifferential, relative to the strength."""
    if grouped:
        size = np.linalg.norm(w, axis=0)
        used = np.linalg.norm(gradient + strength * w / np.where(size > 0, size, 1), axis=0)
        unused = np.maximum(np.linalg.norm(gradient, axis=0) - strength, 0)
        distance = np.where(size > 0, used, unused)
    else:
        distance = np.where(w != 0, np.abs(gradient + strength * np.sign(w)), np.maximum(np.abs(gradient) - strength, 0))
    return max(distance.max(), np.abs(free).max()) / strength


# ---------------------------------------------------------------------------------------------- programs
# Each: tolerance → (seconds, a function that gives w and b of point i).


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def glmnet(problem):
    def run(tolerance):
        fit = LogitNet(
            alpha=1, standardize=False, tol=tolerance, lambda_path=problem.scales, n_splits=0, max_iter=10**8
        )
        seconds, _ = timed(lambda: fit.fit(problem.x, problem.y))
        return seconds, lambda i: (fit.coef_path_[:, :, i], fit.intercept_path_[:, i])

    return run


def adelies(problem):
    k = problem.hot.shape[1]
    x = adelie.matrix.dense(np.asfortranarray(problem.x), n_threads=1)
    glm = adelie.glm.multinomial(np.ascontiguousarray(problem.hot))

    def run(tolerance):
        # Its loss is 1/k of the mean. The loss's share that ends a path early is set aside.
        options = {"early_exit": False, "progress_bar": False, "tol": tolerance, "irls_tol": tolerance}
        seconds, fit = timed(lambda: adelie.grpnet(x, glm, lmda_path=problem.scales / k, **options))
        betas = fit.betas.tocsr()
        return seconds, lambda i: (betas[i].toarray().reshape(-1, k).T, fit.intercepts[i])

    return run


def squares_of(path, options):
    def with_problem(problem):
        x, y = problem.centred
        means = problem.x.mean(axis=0), problem.y.mean()

        def run(tolerance):
            call = lambda: path(x, y, alphas=problem.scales / 2, tol=tolerance, **options)  # no ½ in the mean of squares
            seconds, (_, w, *_) = timed(call)
            return seconds, lambda i: (w[:, i][None], means[1] - means[0] @ w[:, i])

        return run

    return with_problem


class L1:
    """The program `path.rs`, on a file with the problem."""

    def __init__(self, program, problem, folder):
        self.program, self.folder = program, Path(folder)
        self.options = ["--group"] if getattr(problem, "grouped", False) else []
        y = problem.y.astype(np.uint32) if problem.y.ndim == 1 else problem.y
        tensors = {"x": np.ascontiguousarray(problem.x), "y": y, "scales": problem.scales}
        save_file(tensors, self.folder / "problem.safetensors")

    def __call__(self, tolerance):
        out = self.folder / "path.safetensors"
        command = [self.program, "--problem", self.folder / "problem.safetensors", "--out", out, "--rounds", "1"]
        subprocess.run([*command, "--tolerance", str(tolerance), *self.options], check=True, stdout=subprocess.DEVNULL)
        path = load_file(out)
        return path["seconds"][0], lambda i: (path["weight"][i], path["intercept"][i])


def program():
    """Builds `path.rs`, and says where it is."""
    build = ["cargo", "bench", "-q", "-p", "l1-core", "--bench", "path", "--no-run", "--message-format", "json"]
    lines = subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    made = [message for message in map(json.loads, lines) if message.get("target", {}).get("name") == "path"]
    return next(message["executable"] for message in made if message.get("executable"))


# ---------------------------------------------------------------------------------------------- the comparison


def khan(grouped):
    data = load_file(ROOT / "examples" / "data" / "khan.safetensors")
    x = data["x_train"].astype(float)
    return Multinomial((x - x.mean(axis=0)) / x.std(axis=0), data["y_train"].astype(int), grouped)


def least_squares(rows, columns):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns))
    w = np.zeros(columns)
    w[rng.choice(columns, 50, replace=False)] = rng.standard_normal(50)
    y = x @ w
    return Squares(x, (y + 0.3 * y.std() * rng.standard_normal(rows))[:, None])


def worst(problem, fit):
    return max(problem.violation(*fit(i), scale) for i, scale in enumerate(problem.scales))


def accurate(name, run, problem, accuracy):
    """The first tolerance that is tight enough, and its violation."""
    tolerance = accuracy if isinstance(run, L1) else 1e-4
    while tolerance > 1e-18:
        _, fit = run(tolerance)
        violation = worst(problem, fit)
        if violation <= accuracy:
            return tolerance, violation
        tolerance *= 0.99 if isinstance(run, L1) else 0.1
    sys.exit(f"{name} does not reach {accuracy}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--accuracy", type=float, default=1e-4)
    arguments.add_argument("--rows", type=int, default=200)
    arguments.add_argument("--columns", type=int, default=20_000)
    arguments = arguments.parse_args()
    path = program()
    works = [
        ("Khan, multinomial", khan(False), {"glmnet": glmnet}),
        ("Khan, multinomial, grouped by gene", khan(True), {"adelie": adelies}),
        (
            f"least squares, {arguments.rows} × {arguments.columns}",
            least_squares(arguments.rows, arguments.columns),
            {
                "scikit-learn": squares_of(lasso_path, {"max_iter": 100_000}),
                "celer": squares_of(celer_path, {"pb": "lasso", "max_iter": 100, "max_epochs": 100_000}),
            },
        ),
    ]
    print(f"{len(os.sched_getaffinity(0))} cores; medians of {arguments.rounds} rounds; violation at most {arguments.accuracy}\n")
    print("| path of 100 λ | program | its tolerance | violation | time | time / l1 |")
    print("|---|---|---:|---:|---:|---:|")
    for title, problem, peers in works:
        with tempfile.TemporaryDirectory() as folder:
            runs = {"l1": L1(path, problem, folder)} | {name: peer(problem) for name, peer in peers.items()}
            tight = {name: accurate(name, run, problem, arguments.accuracy) for name, run in runs.items()}
            seconds = {name: [] for name in runs}
            for _ in range(arguments.rounds):
                for name, run in runs.items():
                    seconds[name].append(run(tight[name][0])[0])
        medians = {name: statistics.median(all_of) for name, all_of in seconds.items()}
        for name, (tolerance, violation) in tight.items():
            ratio = "" if name == "l1" else f"{medians[name] / medians['l1']:.1f}×"
            time_of = f"{1e3 * medians[name]:.0f} ms"
            print(f"| {title} | {name} | {tolerance:.0e} | {violation:.1e} | {time_of} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
