"""What a Beam's pool does now, as a program reads it and a person: :meth:`slither.Beam.status`.

Plain data, made in the thread that asks. Printed, a status is a table of its workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from slither._by_value import plain
from slither._figures import aligned, share, time
from slither._summary import Summary, table
from slither._types import Payload


class _Row:
    """A dataclass whose fields can be read by name, as those of a dict."""

    def __getitem__(self, name: str) -> Payload:
        """Return a field; KeyError where there is none of that name."""
        if name in self.keys():
            return getattr(self, name)
        raise KeyError(name)

    def keys(self) -> list[str]:
        """Return the names of the fields, so that ``dict(status)`` has them."""
        return [one.name for one in fields(self)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class RunningCall(_Row):
    """The call that a worker runs.

    ``call`` is what it is of, ``"module.function"``; ``pipe``, ``stage``, ``run`` and ``session``
    where it belongs, None where that does not apply. ``batch`` is its number in its run,
    ``attempt`` 1 unless it failed before, and ``items`` how many it has. ``since`` says how many
    seconds it has run, ``deadline`` how many it has left, None without a limit. ``stalled`` says
    that it waits for whoever reads its results, which uses up none of these.
    """

    call: str
    pipe: str | None = None
    stage: str | None = None
    run: str | None = None
    session: str | None = None
    batch: int = 0
    attempt: int = 1
    items: int = 1
    since: float = 0.0
    deadline: float | None = None
    stalled: bool = False


@dataclass(frozen=True)
class WorkerStatus(_Row):
    """One worker of a pool.

    ``worker`` is its number, which another gets when it is gone; ``status`` is ``"starting"``,
    ``"spare"`` (it waits to take a place), ``"ready"``, ``"draining"`` (another has its place; it
    finishes what it has) or ``"stopping"``. ``pid`` is its process, None before it is ready.
    ``calls`` counts those that it holds, ``served`` those that it has answered, ``sessions``
    those whose state it keeps. ``age`` is in seconds since it was ready, ``rss`` its memory in
    bytes and ``cpu`` the seconds of cores that it has had. ``gpus`` and ``cpus`` are those that
    it has of what the pool shares out. ``runs`` is the call that it runs, and ``said`` holds the
    last 20 lines that it has logged or printed, each a pair of level and text.
    """

    worker: int
    status: str
    pid: int | None = None
    calls: int = 0
    served: int = 0
    sessions: int = 0
    age: float | None = None
    rss: int | None = None
    cpu: float | None = None
    runs: RunningCall | None = None
    gpus: tuple[str, ...] | None = None
    cpus: tuple[int, ...] | None = None
    said: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SizeChange(_Row):
    """A change of a pool's size, ``before`` and ``after``, so many seconds ``ago``.

    ``why`` is ``"waited"`` (calls had waited for too long), ``"busy"`` (calls waited all the
    time), ``"sessions"`` (calls of sessions had waited for too long), ``"idle"`` (workers had
    nothing to do), ``"start_failed"`` (one could not start) or ``"resize"``.
    """

    before: int
    after: int
    why: str
    ago: float


@dataclass(frozen=True)
class Status(_Row):
    """What a pool does now; ``print`` shows it as a table.

    ``size`` workers should serve, which the pool changes by itself within ``range``; ``changed``
    says how it has changed last, None if it has not. ``ready`` workers serve, and ``busy`` are at
    a call. ``busy_share`` is the share of about the last 10 seconds that they were, from 0 to 1,
    and ``busy_time`` the seconds that all workers so far were. ``queue`` calls wait for a worker,
    of at most ``max_queue``; the first of them has waited ``oldest_wait`` seconds.
    ``since_free`` says for how many seconds no worker was free, None while one is. ``started``
    and ``died`` count workers so far, and ``error`` says why none can start. ``workers`` are
    those there are now. ``notes`` say what was asked for and can't be had here, such as GPUs.

    ``stages`` says what has become of items so far, and where the time of calls went, by what was
    called, ``"module.function"``, or by ``"pipe/stage"``: each a :class:`slither.Summary`.
    """

    size: int
    ready: int = 0
    busy: int = 0
    busy_share: float = 0.0
    busy_time: float = 0.0
    queue: int = 0
    max_queue: int = 0
    oldest_wait: float | None = None
    since_free: float | None = None
    started: int = 0
    died: int = 0
    error: str | None = None
    workers: tuple[WorkerStatus, ...] = ()
    stages: dict[str, Summary] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    range: tuple[int, int] | None = None
    changed: SizeChange | None = None

    def __str__(self) -> str:
        """Show it as a few sentences, a table of the workers, and one of the stages."""
        lines = _head(self)
        if self.error is not None:
            lines.append(f"no worker can start: {self.error}")
        lines += [*self.notes, *_table(self.workers)]
        if self.stages:
            lines += ["", *table(self.stages)]
        return "\n".join(lines)


def made(answer: dict[str, Payload]) -> Status:
    """Make a status of BEAM's answer to the request."""
    return Status(
        **{name: answer[name] for name in ("size", "ready", "busy", "busy_share")},
        **{name: answer[name] for name in ("queue", "max_queue", "started", "died")},
        **{name: _seconds(answer[name]) for name in ("oldest_wait", "since_free")},
        busy_time=answer["busy_time"] / 1e3,
        error=answer["error"] and plain(answer["error"]),
        workers=tuple(_worker(one) for one in answer["workers"]),
        notes=tuple(answer["notes"]),
        range=tuple(answer["range"]),
        changed=answer["changed"] and _change(answer["changed"]),
        stages={
            name: stage
            for one in answer["stages"]
            if (name := _name(one)) and (stage := _stage(one))
        },
    )


def _change(one: dict[str, Payload]) -> SizeChange:
    return SizeChange(one["from"], one["to"], one["why"], one["ago"] / 1e3)


def _name(one: dict[str, Payload]) -> str:
    # What stands for functions of its own is none of the user's names.
    stage = plain(one["stage"])
    return (
        f"{one['pipe']}/{stage}"
        if one["pipe"]
        else ""
        if stage.startswith("slither._")
        else stage
    )


def _stage(one: dict[str, Payload]) -> Summary:
    p50, p95 = (None if one[name] is None else one[name] / 1e6 for name in ("p50", "p95"))
    return Summary(
        **{name: one[name] for name in ("items", "skipped", "routed", "failed")},
        errors=one["errors"],
        batches=one["calls"],
        times={name: took / 1e6 for name, took in one["times"].items()},
        p50=p50,
        p95=p95,
    )


def _worker(one: dict[str, Payload]) -> WorkerStatus:
    counts = ("worker", "status", "pid", "calls", "served", "sessions", "rss")
    return WorkerStatus(
        **{name: one[name] for name in counts},
        **{name: _seconds(one[name]) for name in ("age", "cpu")},
        runs=one["runs"] and _call(one["runs"]),
        gpus=one["gpus"] and tuple(one["gpus"]),
        cpus=one["cpus"] and tuple(one["cpus"]),
        said=tuple((level, plain(text)) for level, text in one["said"]),
    )


def _call(one: dict[str, Payload]) -> RunningCall:
    times = {name: _seconds(one[name]) for name in ("since", "deadline")}
    return RunningCall(**{**one, **times, "call": plain(one["call"])})


def _seconds(ms: int | None) -> Payload:
    return None if ms is None else ms / 1e3


def _head(status: Status) -> list[str]:
    lately = f"{share(status.busy_share)} of the last 10 s"
    work = f"{status.busy} of {status.size} workers busy ({lately})"
    if status.ready < status.size:
        work += f", {status.ready} ready"
    if status.range is not None and status.range[0] < status.range[1]:
        work += f", {status.range[0]} to {status.range[1]} may be"
    if status.died:
        work += f", {status.died} died"
    if status.since_free is not None and status.ready:
        work += f"; no worker free for {time(status.since_free)}"
    if status.oldest_wait is None:
        return [work, "no call waits"]
    waits = "1 call waits" if status.queue == 1 else f"{status.queue:,} calls wait"
    first = time(status.oldest_wait)
    return [work, f"{waits} (at most {status.max_queue:,}), the first for {first}"]


_HEADS = ("worker", "pid", "state", "runs", "items", "since", "left", "served", "memory", "age")
# What is words.
_LEFT = [_HEADS.index(head) for head in ("state", "runs")]


def _table(workers: Iterable[WorkerStatus]) -> list[str]:
    rows = [_HEADS, *(_cells(worker) for worker in workers)]
    return [] if len(rows) == 1 else aligned(rows, _LEFT)


def _cells(worker: WorkerStatus) -> tuple[str, ...]:
    runs = worker.runs
    return (
        str(worker.worker),
        _or_dash(worker.pid, str),
        worker.status,
        "-" if runs is None else _what(runs),
        "-" if runs is None else f"{runs.items:,}",
        "-" if runs is None else time(runs.since),
        "-" if runs is None else time(runs.deadline),
        f"{worker.served:,}",
        _or_dash(worker.rss, _bytes),
        time(worker.age),
    )


def _what(runs: RunningCall) -> str:
    where = "/".join(name for name in (runs.pipe, runs.stage) if name)
    what = f"{runs.call} ({where})" if where else runs.call
    return f"{what}, waits for its reader" if runs.stalled else what


def _or_dash(value: Payload, text: Payload) -> str:
    return "-" if value is None else str(text(value))


def _bytes(count: int) -> str:
    if count < 1 << 30:
        return f"{count / (1 << 20):.0f} MiB"
    return f"{count / (1 << 30):.1f} GiB"
