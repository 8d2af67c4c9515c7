"""MLflow's registry: one registered model for all studies, and for each data set the alias of its champion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODEL_NAME = "fmnist-sweep"
ALIAS = "champion"
_DATA = "sweep.data"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True, slots=True)
class DataMark:
    """Which images a model classifies; accuracies on others can't be compared with its own.

    Attributes:
        name: Of the data set.
        fingerprint: Of its files.
    """

    name: str
    fingerprint: str

    @classmethod
    def of(cls, study: Mapping[str, Any]) -> DataMark:
        """A study's, from its identity in the ledger."""
        data = study.get("data_set", {})
        return cls(data.get("name", ""), data.get("fingerprint", ""))

    @property
    def tags(self) -> dict[str, str]:
        """What a version of the registered model says of it."""
        return {_DATA: self.fingerprint}

    @property
    def own_alias(self) -> str:
        """Of its champion where another data set's has the plain alias already."""
        return f"{ALIAS}-{re.sub(r'[^a-z0-9]+', '-', self.name.lower()).strip('-') or self.fingerprint}"

    def is_of(self, tags: Mapping[str, str]) -> bool:
        """Whether a version with these tags classifies the same images; those of older releases don't say."""
        return tags.get(_DATA, self.fingerprint) == self.fingerprint


def champion_of(client: Any, data: DataMark) -> tuple[str, Any]:
    """The alias of a data set's champion, and the model version that has it, None for none.

    It is ``champion`` for whoever comes first; other data sets' champions don't compete with it and have aliases of
    their own.
    """
    holder = _holder(client, ALIAS)
    if holder is None or data.is_of(holder.tags):
        return ALIAS, holder
    return data.own_alias, _holder(client, data.own_alias)


def _holder(client: Any, alias: str) -> Any:
    try:
        return client.get_model_version_by_alias(MODEL_NAME, alias)
    except Exception as error:
        if getattr(error, "error_code", "") in _MISSING:
            return None
        raise  # the server is away for a moment: whose it is can't be told
