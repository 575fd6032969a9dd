"""What the workers of ml_scoring run: the work itself is in ``models``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TypedDict, cast

import models
from models import Data, Expected, Features, Model, Score

from slither import views
from slither.worker import session


class Trained(TypedDict):
    """When and where a model was trained, in seconds of a clock that all workers share."""

    fingerprint: str
    worker: int
    began: float
    ended: float


def load(counts: list[int]) -> list[list[Data]]:
    """The data sets."""
    return [[models.load(name, count) for name in models.NAMES] for count in counts]


def expected(sets: list[Data]) -> list[Expected]:
    """What plain scikit-learn makes of each, in one process."""
    return [models.expected(data) for data in sets]


# coordination: slither
def train(tasks: list[tuple[list[int], list[int]]]) -> list[Trained]:
    """Train the model of this session on records and their labels."""
    return [_train(*task) for task in tasks]


def _train(records: list[int], labels: list[int]) -> Trained:
    began = time.monotonic()
    model = models.fit(_features(records), labels)
    session()["model"] = model
    return {
        "fingerprint": models.fingerprint(model),
        "worker": os.getpid(),
        "began": began,
        "ended": time.monotonic(),
    }


def score(records: list[int]) -> list[Score]:
    """Score records with the model of this session."""
    model: Model = session()["model"]
    return models.score(model, records, _features(records))


def _features(records: Sequence[int]) -> Features:
    # The view knows whose session asks.
    return cast(Features, views.ml_features(records=records))


# end of coordination
