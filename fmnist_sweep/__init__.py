"""Searches over architectures and hyperparameters of image classifiers, with an honest answer."""

__version__ = "0.1.0"
