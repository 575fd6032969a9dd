"""joblib's calls in the workers of a Beam, scikit-learn's ``n_jobs`` with them.

::

    import joblib
    import slither.joblib

    slither.joblib.register()

    if __name__ == "__main__":
        with joblib.parallel_config(backend="slither", n_jobs=4):
            search.fit(X, y)

Needs joblib (``pip install joblib``), and nothing of scikit-learn. What the calls are given, and
what they return, is pickled, as joblib's own backends do it: functions and objects of any kind
go, and only the workers that this very program has started open them. The workers stay warm from
one call of ``joblib.Parallel`` to the next.
"""

from __future__ import annotations


def register(*, make_default: bool = False) -> None:
    """Give joblib the backend ``"slither"``.

    With ``make_default`` joblib takes it where none is named. Its options, in
    ``joblib.parallel_config(backend="slither", …)`` or in ``joblib.Parallel(…)``:

    - ``call_timeout``: seconds that a call may run. One that is not done by then is ended with
      its worker, and has a :class:`slither.CallTimeout` with the stack of where it was; calls go
      to the workers one by one then. ``timeout`` of ``joblib.Parallel`` gives up all of them;
    - ``lost``: what becomes of a call whose worker died or was ended. ``"raise"`` raises its
      :class:`slither.WorkerDied`, :class:`slither.CallTimeout` or
      :class:`slither.MemoryExceeded`, and ends the others;
      ``"return"`` puts that in the place of its result. A fit of scikit-learn's searches and
      cross-validations counts as one that failed where it is ``"raise"``: it has ``error_score``,
      and the others go on;
    - ``initializer``, ``initargs``: a function that each worker calls when it starts;
    - ``idle_worker_timeout``: seconds without a call after which the workers end, 300 unless
      given, None for the end of the program;
    - those of a :class:`slither.Beam` by their names: ``python``, ``preload``, ``paths``,
      ``env``, ``cwd``, ``startup_timeout``, ``pool``, ``shutdown_timeout``.

    ``n_jobs``, ``inner_max_num_threads``, ``max_nbytes``, ``temp_folder`` and ``mmap_mode`` mean
    what they mean for joblib's own ``"loky"``. A call in a worker runs in threads of that.

    Raises ModuleNotFoundError where joblib is not installed.

    >>> register()
    >>> import joblib
    >>> "slither" in joblib.parallel.BACKENDS
    True
    """
    try:
        from slither._joblib import backend
    except ModuleNotFoundError as error:
        if error.name != "joblib":
            raise
        raise ModuleNotFoundError(
            "slither.joblib.register() needs joblib, which is not installed: pip install joblib",
            name="joblib",
        ) from None
    backend.register(make_default=make_default)


def close() -> None:
    """End the workers that wait for joblib's next call, as the end of the program does.

    Those of a call that runs stay.
    """
    from slither._joblib import beams

    beams.close()
