"""scikit-learn's fits that were lost with their worker: they count as fits that failed.

Pure but for the call of scikit-learn's function, in the thread that takes the outcome of a job.
"""

from __future__ import annotations

import copy
from typing import Any

from slither._driver.errors_in import RemoteTraceback
from slither._errors import CallError

Outcome = tuple[bool, Any]


def failed(function: Any, args: Any, kwargs: Any, error: CallError) -> Outcome:
    """Return the outcome of a batch of one call that was lost with its worker.

    Of a fit that a search or a cross-validation scores it is what scikit-learn makes of one that
    raises: ``error_score``, and a warning with the reason. Of any other call it is the error.
    """
    inner = getattr(function, "function", function)
    known = getattr(inner, "__module__", "") == "sklearn.model_selection._validation"
    if not known or getattr(inner, "__name__", "") != "_fit_and_score" or not args:
        return False, error
    # scikit-learn's own code, given an estimator whose fit raises, knows what a failure looks
    # like in the version that is installed.
    estimator = copy.copy(args[0])
    estimator.fit = _Raises(error)
    return True, [function(estimator, *args[1:], **kwargs)]


class _Raises:
    def __init__(self, error: CallError) -> None:
        self._error = error

    def __call__(self, *_args: object, **_kwargs: object) -> None:
        if self._error.__cause__ is None and self._error.stack:
            self._error.__cause__ = RemoteTraceback(self._error.stack)
        raise self._error
