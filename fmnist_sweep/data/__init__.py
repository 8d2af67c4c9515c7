"""The data set of a sweep: Fashion-MNIST, or the image set that the sweep's file names.

Nothing outside this package knows how large an image is, or how many classes there are.
"""

from fmnist_sweep.data.arrays import LabelledImages, read_idx
from fmnist_sweep.data.fashion_mnist import CLASSES, FASHION_MNIST, Catalogue, KnownFiles, find
from fmnist_sweep.data.prepared import Facts, PreparedData, Split, facts_of, open_test_set, prepare, source_of
from fmnist_sweep.data.source import DataSource

__all__ = [
    "CLASSES",
    "FASHION_MNIST",
    "Catalogue",
    "DataSource",
    "Facts",
    "KnownFiles",
    "LabelledImages",
    "PreparedData",
    "Split",
    "facts_of",
    "find",
    "open_test_set",
    "prepare",
    "read_idx",
    "source_of",
]
