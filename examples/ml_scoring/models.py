"""Two data sets that scikit-learn ships, and what it is to train on one and to score records.

Both are of patients, and have ten features: nothing fails when a model gets the other's records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

NAMES = ("cancer", "diabetes")
TREES = 200

Features = Sequence[Sequence[float]]


class Data(TypedDict):
    """A data set: half of its records are trained on, of the others come the requests."""

    name: str
    features: list[list[float]]
    labels: list[int]
    training: list[int]
    requests: list[int]


class Score(TypedDict):
    """What a model makes of a record, and which model that was."""

    record: int
    probability: float
    fingerprint: str


class Expected(TypedDict):
    """What plain scikit-learn makes of a data set."""

    scores: list[Score]
    accuracy: float
    auc: float


@dataclass(frozen=True)
class Model:
    """A model that has been trained."""

    scaler: StandardScaler
    forest: RandomForestClassifier


def load(name: str, count: int) -> Data:
    """Return a data set with so many requests, drawn from what is not trained on."""
    if name == "cancer":
        cancer = load_breast_cancer()
        # The means; the other columns are their errors and extremes.
        features, labels = cancer.data[:, :10], cancer.target
    else:
        diabetes = load_diabetes(scaled=False)
        features, labels = diabetes.data, diabetes.target > np.median(diabetes.target)
    random = np.random.default_rng(0)
    training, held_out = np.array_split(random.permutation(len(features)), 2)
    return {
        "name": name,
        "features": features.tolist(),
        "labels": labels.astype(int).tolist(),
        "training": training.tolist(),
        "requests": random.choice(held_out, count).tolist(),
    }


def fit(features: Features, labels: Sequence[int]) -> Model:
    """Train a model."""
    scaler = StandardScaler().fit(np.array(features))
    forest = RandomForestClassifier(TREES, random_state=0)
    return Model(scaler, forest.fit(scaler.transform(np.array(features)), labels))


def score(model: Model, records: Sequence[int], features: Features) -> list[Score]:
    """Score records."""
    table = model.scaler.transform(np.array(features))
    probabilities: list[float] = model.forest.predict_proba(table)[:, 1].tolist()
    mark = fingerprint(model)
    return [
        {"record": record, "probability": probability, "fingerprint": mark}
        for record, probability in zip(records, probabilities, strict=True)
    ]


def fingerprint(model: Model) -> str:
    """Digest all that a model has learnt."""
    digest = hashlib.sha256(model.scaler.mean_.tobytes() + model.scaler.scale_.tobytes())
    for tree in model.forest.estimators_:
        for learnt in (tree.tree_.feature, tree.tree_.threshold, tree.tree_.value):
            digest.update(np.ascontiguousarray(learnt).tobytes())
    return digest.hexdigest()[:12]


def pick(data: Data, records: Sequence[int]) -> list[list[float]]:
    """Return the features of records."""
    return [data["features"][record] for record in records]


def expected(data: Data) -> Expected:
    """Train and score in one process, all requests at once."""
    labels = [data["labels"][record] for record in data["training"]]
    scores = score(
        model=fit(pick(data, data["training"]), labels),
        records=data["requests"],
        features=pick(data, data["requests"]),
    )
    truth: NDArray[np.int64] = np.array([data["labels"][record] for record in data["requests"]])
    rated = np.array([each["probability"] for each in scores])
    return {
        "scores": scores,
        "accuracy": float(np.mean((rated > 0.5) == truth)),
        "auc": float(roc_auc_score(truth, rated)),
    }
