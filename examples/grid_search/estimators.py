"""The work: a classifier, of which one setting never ends and another eats memory.

It imports nothing of Slither, since the baseline uses it, too.
"""

from __future__ import annotations

import time
from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

CHUNK = 32 << 20


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression, with a solver that goes by one of three names."""

    def __init__(self, solver: str = "steady", C: float = 1.0) -> None:
        self.solver = solver
        self.C = C

    def fit(self, data: Any, target: Any) -> Classifier:
        """Fit it, if the solver lets it come to an end."""
        if self.solver == "endless":
            self._descend()
        if self.solver == "greedy":
            self._remember()
        self.model_ = LogisticRegression(C=self.C, max_iter=200).fit(data, target)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, data: Any) -> Any:
        """Predict as the model does."""
        return self.model_.predict(data)

    def _descend(self) -> None:
        # A step that is half the last one never gets to where it is going.
        error = 1.0
        while error > 0.0:
            error = max(error / 2, 1e-300)
            time.sleep(0.001)

    def _remember(self) -> None:
        # Every gradient is kept, in case somebody asks.
        history = []
        while True:
            history.append(bytearray(CHUNK))
            history[-1][::4096] = b"g" * (CHUNK // 4096)
            time.sleep(0.01)
