"""The images that benchmarks train on: the product's own split, unpacked under the results' folder."""

from __future__ import annotations

import sys

from benchmarks.options import Options
from fmnist_sweep import data as datasets
from fmnist_sweep.data import DataSource, PreparedData


def source(options: Options) -> DataSource:
    """The data set, found as the product finds it.

    Raises:
        DataError: It can't be had.
    """
    return datasets.find(options.data_dir, say=lambda line: print(line, file=sys.stderr))


def prepared(options: Options, train_images: int) -> PreparedData:
    """The split with so many images to train on.

    Raises:
        DataError: The data set can't be had.
    """
    return datasets.prepare(source(options), options.out / "data", train_images=train_images)
