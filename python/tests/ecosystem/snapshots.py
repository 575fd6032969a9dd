"""Snapshots as the dashboard serves them, made up: what the page is drawn from in its tests.

Each function of `ALL` makes one state of a program, as `Slither.Watch.snapshot/0` tells it. Times
are ms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

Map = dict[str, Any]

AT = 1_764_384_067_000

TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/scoring/handlers.py", line 88, in predict
    return [model.score(row["text"]) for row in rows]
            ^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/scoring/model.py", line 41, in score
    raise ValueError(f"not a number: {text!r}")
ValueError: not a number: 'n/a'
"""


def wave(most: float, phase: float = 0.0) -> list[float]:
    return [round(most * (0.8 + 0.15 * math.sin(i / 5 + phase)), 2) for i in range(60)]


def falling(most: float) -> list[float]:
    """Flows, and then no more."""
    return [most * (1 if i < 44 else max(0.0, 1 - (i - 43) / 4)) for i in range(60)]


def shares(**given: float) -> Map:
    phases = ("queue", "encode", "wire", "decode", "handler", "reorder")
    return {phase: given.get(phase, 0.0) for phase in phases}


def stage(name: str, kind: str = "beam", **given: Any) -> Map:
    empty = {"waiting": 0, "queued": 0, "running": 0, "retrying": 0, "bound": None}
    times = {"p50": None, "p95": None, "shares": None}
    ends = {"items": 0, "failed": 0, "skipped": 0, "routed": 0, "narrowest": False}
    ends |= {"failed_share": 0, "last_failed": given.pop("last_failed", None)}
    begun = {"name": name, "type": kind, "pool": None, "rate": 0.0, "spark": [0] * 60}
    return {**begun, **empty, **times, **ends, **given}


def python(name: str, pool: str = "default", **given: Any) -> Map:
    common = {"bound": 8, "p50": 12.4, "p95": 41.0, "shares": shares(handler=0.81, queue=0.12)}
    return stage(name, "python", **{"pool": pool, **common, **given})


def edge(begin: str, end: str, rate: float, output: bool = False, **given: Any) -> Map:
    one = {"from": begin, "to": end, "rate": rate, "spark": wave(rate, len(end)), **given}
    return {**one, "output": True} if output else one


def words_pipe(name: str = "words", scale: float = 1.0) -> Map:
    rate = 12_400 * scale
    return {
        **{"name": name, "runs": 1, "kind": "server", "state": "running"},
        **{"in_rate": rate, "out_rate": rate * 0.98, "last_output": 40},
        **{"blocked": 0, "delivering": 3, "error": None, "held": None},
        "stages": [
            stage("split", rate=rate, bound=None, running=2, p50=0.08, p95=0.2),
            python("clean", rate=rate, running=3, queued=1, shares=shares(handler=0.6, wire=0.3)),
            python("score", "gpu", rate=rate, running=6, queued=4, waiting=3, narrowest=True),
            stage("route", "router", rate=rate, routed=120),
        ],
        "edges": [
            edge("in", "split", rate),
            edge("split", "clean", rate),
            edge("clean", "score", rate),
            edge("score", "route", rate * 0.99),
            edge("route", "long", rate * 0.3, output=True),
            edge("route", "default", rate * 0.68, output=True),
            edge("clean", "broken", rate * 0.002, output=True),
        ],
    }


def chain_pipe(name: str, names: list[str], **given: Any) -> Map:
    stages = [python(it, rate=310.0, running=2) for it in names]
    between = [edge(a, b, 310.0) for a, b in itertools.pairwise(names)]
    return {
        **{"name": name, "runs": 2, "kind": "run", "state": "running"},
        **{"in_rate": 310.0, "out_rate": 309.0, "last_output": 210, "blocked": 0},
        **{"delivering": 0, "error": None, "held": None, "stages": stages},
        "edges": [
            edge("in", names[0], 310.0),
            *between,
            edge(names[-1], "default", 309.0, output=True),
        ],
        **given,
    }


def runs(call: str, since: float, deadline: float | None = None, **given: Any) -> Map:
    where = {"pipe": None, "stage": None, "run": "run-17"}
    return {
        **{"call": call, **where, "batch": 4, "attempt": 1, "items": 64},
        **{"since": since, "deadline": deadline, **given},
    }


def said(*lines: tuple[str, str]) -> list[Map]:
    return [{"level": level, "text": text} for level, text in lines]


def worker(number: int, now: Map | None = None, **given: Any) -> Map:
    return {
        **{"worker": number, "status": "ready", "os_pid": 4200 + number},
        **{"rss": 310_000_000 + 9_000_000 * number, "age": 7_400_000},
        **{"served": 18_211 + number, "calls": 1 if now else 0, "sessions": 0},
        **{"runs": now, "said": [], **given},
    }


def pool(name: str, workers: list[Map], **given: Any) -> Map:
    busy = sum(one["runs"] is not None for one in workers)
    ready = sum(one["status"] == "ready" for one in workers)
    return {
        **{"name": name, "size": len(workers), "ready": ready, "busy": busy},
        **{"busy_share": busy / max(len(workers), 1), "queue": 0, "max_queue": 1000},
        **{"oldest_wait": None, "since_free": None, "error": None},
        **{"started": len(workers), "died": 0, "sessions": 0, "workers": workers, **given},
    }


def event(ago: float, kind: str, text: str, **given: Any) -> Map:
    rest = {"pool": "gpu", "worker": 2, "reason": None}
    return {"at": AT - round(ago), "kind": kind, "text": text, **rest, **given}


def snapshot(state: str, text: str, **given: Any) -> Map:
    pools = given.get("pools", [])
    waits = [one["oldest_wait"] for one in pools if one["oldest_wait"] is not None]
    totals = {
        "rate": sum(pipe["out_rate"] for pipe in given.get("pipes", [])),
        "oldest_wait": max(waits, default=None),
        "workers": sum(one["size"] for one in pools),
        "busy": sum(one["busy"] for one in pools),
        "failed_share": given.pop("failed_share", 0.0),
    }
    code = {"failing": 2, "waiting": 1}.get(state, 0)
    verdict = {"state": state, "text": text, "exit": code, "evidence": given.pop("evidence", [])}
    empty: Map = {"pipes": [], "stages": [], "pools": [], "failures": [], "stores": []}
    return {
        **{"version": "0.1.0", "name": "scoring", "os_pid": 4113, "otp": "27", "at": AT},
        **{"uptime": 11_520_000, "verdict": verdict, "totals": totals, **empty},
        **{"sessions": [], "checkpoints": [], "events": [], **given},
    }


def gpu_workers() -> list[Map]:
    lines = said(
        ("info", "loaded model v12 in 3.1 s"),
        ("warning", "batch of 64 took 0.9 s, above the usual"),
    )
    call = "handlers.predict"
    return [
        worker(1, runs(call, 31, 29_969, pipe="words", stage="score"), said=lines),
        worker(2, runs(call, 12, 29_988, pipe="words", stage="score")),
        worker(3, runs(call, 44, 29_956, pipe="words", stage="score"), said=lines[:1]),
        worker(4, runs(call, 8, 29_992, pipe="words", stage="score")),
    ]


def healthy() -> Map:
    default = [worker(1, runs("text.clean", 3)), worker(2, runs("text.clean", 6)), worker(3)]
    return snapshot(
        "flowing",
        "Flowing: 12.4 k items/s, oldest waits 80 ms",
        pipes=[words_pipe()],
        stages=[
            python("maths.fit", rate=41.0, running=1, spark=wave(41, 2), p50=210.0, p95=640.0)
        ],
        pools=[
            pool("gpu", gpu_workers(), queue=3, oldest_wait=80, busy_share=0.94),
            pool("default", [*default, worker(4)], busy_share=0.41),
        ],
        stores=[
            {
                **{"store": "Features", "writes_rate": 210.0, "durable": True},
                "tables": [
                    {"name": "users", "rows": 1_204_311, "memory": 310_000_000},
                    {"name": "clicks", "rows": 88_120, "memory": 21_000_000},
                ],
            }
        ],
        sessions=[{"pool": "default", "id": "user-7", "worker": 3, "status": "idle"}],
        checkpoints=[
            {"path": "/var/lib/scoring/nightly.ckpt", "pipe": "words", "finished": 81_020}
        ],
        events=[
            event(92_000, "recycle", "worker gpu 2 replaced after 10,000 calls"),
            event(11_510_000, "start", "pool gpu started with 4 workers"),
        ],
    )


def hung() -> Map:
    call = "handlers.predict"
    stuck = {"pipe": "words", "stage": "score"}
    workers = [
        worker(1, runs(call, 41_300, 18_700, **stuck), said=said(("info", "asking model-7"))),
        worker(2, runs(call, 41_100, 18_900, **stuck), calls=4),
        worker(3, runs(call, 58_200, 1_800, **stuck), said=said(("error", "model-7: timed out"))),
        worker(4, runs(call, 62_000, -2_000, **stuck)),
    ]
    pipe = words_pipe()
    pipe |= {"out_rate": 0.0, "in_rate": 0.0, "last_output": 41_900, "blocked": 12}
    for one in [*pipe["stages"], *pipe["edges"]]:
        one |= {"rate": 0.0, "spark": falling(12_000)}
    pipe["stages"][1] |= {"running": 0, "queued": 0, "waiting": 8}
    pipe["stages"][2] |= {"running": 4, "queued": 4, "waiting": 0}
    return snapshot(
        "waiting",
        "Waiting: pool gpu has had no free worker for 42 s; 4 of 4 run "
        "handlers.predict since 41 s",
        evidence=[
            {"rule": "stuck", "text": "words has given no output for 42 s", "pipe": "words"},
            {"rule": "late", "text": "gpu 4 is 2 s over its deadline", "pool": "gpu"},
            {"rule": "blocked", "text": "12 pushes wait for room in words", "pipe": "words"},
        ],
        pipes=[pipe],
        pools=[
            pool("gpu", workers, queue=37, max_queue=40, oldest_wait=42_100, since_free=42_000),
            pool("default", [worker(1), worker(2)], busy_share=0.02),
        ],
    )


def failure(place: str, exception: str | None, times: int, **given: Any) -> Map:
    pipe, _, name = place.rpartition("/")
    return {
        **{"place": place, "pipe": pipe or None, "stage": name if pipe else None},
        **{"reason": "handler_error", "exception": exception, "frame": "model.py:41 in score"},
        **{"count": times, "share": 0.031, "first": 610_000, "last": 4_000},
        **{"message": "not a number: 'n/a'", "traceback": TRACEBACK, "replay": None},
        **{"spark": [0] * 40 + wave(4)[:20], **given},
    }


def failing() -> Map:
    healthy_one = healthy()
    pipe = healthy_one["pipes"][0]
    pipe["stages"][2] |= {"failed": 3_120, "last_failed": 4_000, "retrying": 1}
    pipe["stages"][1] |= {"failed": 7}
    return snapshot(
        "failing",
        "Failing: 3.1 % of stage score, ValueError, last 4 s ago",
        failed_share=0.031,
        evidence=[{"rule": "deaths", "text": "worker gpu 2 died twice in 5 min", "pool": "gpu"}],
        pipes=[pipe],
        stages=healthy_one["stages"],
        pools=healthy_one["pools"],
        failures=[
            failure(
                "words/score",
                "ValueError",
                3_120,
                replay="slither replay /var/lib/scoring/captures/score-20261129-024103.slither",
            ),
            failure(
                "words/score",
                None,
                2,
                **{"reason": "worker_exit", "frame": None, "share": None, "last": 66_000},
                **{"message": "the worker ended with signal 11 (SIGSEGV)", "traceback": None},
            ),
            failure("maths.fit", "TimeoutError", 1, share=0.4, message="asked the store for 5 s"),
        ],
        events=[
            event(66_000, "death", "worker gpu 2 ended: signal 11 (SIGSEGV)", reason="signal_11"),
            event(65_600, "start", "worker gpu 2 started in 0.4 s"),
            event(92_000, "recycle", "worker gpu 3 replaced after 10,000 calls"),
            event(700_000, "reload", "store Features loaded its tables anew"),
        ],
    )


def cannot_start() -> Map:
    error = {
        "reason": "import_error",
        "message": "preload of handlers failed: ModuleNotFoundError: No module named 'torch'",
    }
    gone = [worker(n, status="down", os_pid=None, rss=None, age=None, served=0) for n in (1, 2)]
    starting = worker(3, status="starting", rss=21_000_000, age=300, served=0)
    return snapshot(
        "failing",
        "Failing: pool gpu cannot start, ModuleNotFoundError: No module named 'torch'",
        pipes=[words_pipe() | {"last_output": None, "in_rate": 0.0, "out_rate": 0.0}],
        pools=[
            pool(
                "gpu",
                [*gone, starting],
                **{"error": error, "queue": 4, "oldest_wait": 12_000, "since_free": 12_000},
                **{"started": 9, "died": 8},
            )
        ],
        events=[
            event(n * 1500, "death", f"worker gpu {n} ended: exit 1 while it started")
            for n in (1, 2, 3)
        ],
    )


def idle() -> Map:
    return snapshot(
        "idle",
        "Nothing runs; 2 workers are ready",
        pools=[pool("default", [worker(1), worker(2)])],
    )


def bare() -> Map:
    """A program that has only begun."""
    return snapshot("idle", "Nothing runs")


def many_pipes() -> Map:
    pipes = [chain_pipe(f"feed_{n:02}", ["fetch", "parse", "score", "store"]) for n in range(24)]
    pipes[17]["stages"][2] |= {"failed": 41, "last_failed": 900, "narrowest": True, "queued": 6}
    pipes[5] |= {"blocked": 3}
    calls = [python(f"jobs.task_{n}", rate=3.0 + n, spark=wave(3)) for n in range(12)]
    pools = [pool(f"pool_{n}", [worker(1), worker(2, runs("jobs.x", 20))]) for n in range(9)]
    return snapshot(
        "flowing", "Flowing: 7.4 k items/s, nothing waits", pipes=pipes, stages=calls, pools=pools
    )


def two_pipes() -> Map:
    jump = chain_pipe("orders", ["check", "price", "tax", "ship"])
    jump["edges"] += [
        edge("check", "ship", 12.0),
        edge("check", "refused", 3.1, output=True),
        edge("tax", "refused", 0.4, output=True),
    ]
    begun = healthy()
    text = "Working: 2 runs, no output yet, oldest waits 80 ms"
    return snapshot("working", text, pipes=[jump, words_pipe()], pools=begun["pools"])


def long_pipe() -> Map:
    names = [f"stage_number_{n}" for n in range(11)]
    begun = healthy()
    return snapshot(
        "flowing",
        "Flowing: 310 items/s, nothing waits",
        pipes=[chain_pipe("eleven", names)],
        pools=begun["pools"],
    )


def many_workers() -> Map:
    def one(number: int) -> Map:
        if number == 17:
            return worker(number, runs("score.predict", 61_000, -1_000))
        if number == 90:
            return worker(number, runs("score.predict", 57_000, 3_000))
        if number in (33, 34):
            return worker(number, status="starting" if number == 33 else "down", os_pid=None)
        busy = number % 7 != 0
        done = 400 * (number % 60)
        return worker(number, runs("score.predict", done, 30_000 - done) if busy else None)

    cpu = [worker(n, runs("text.clean", 4 * n)) for n in range(1, 41)]
    return snapshot(
        "flowing",
        "Flowing: 41 k items/s, oldest waits 1.2 s",
        pipes=[words_pipe(scale=3.3)],
        pools=[
            pool("gpu", [one(n) for n in range(1, 161)], queue=12, oldest_wait=1_200),
            pool("cpu", cpu, busy_share=1.0),
        ],
    )


def long_names() -> Map:
    name = "a_very_long_name_of_a_thing_that_somebody_generated_from_a_class_path"
    begun = words_pipe(name)
    for number, one in enumerate(begun["stages"]):
        one["name"] = f"{name}_{number}"
    begun["edges"] = []
    module = f"company.department.team.project.{name}.handlers.run_the_whole_batch"
    return snapshot(
        "waiting",
        f"Waiting: pool {name} has had no free worker for 42 s; 2 of 2 run {module} since 41 s",
        pipes=[begun],
        stages=[python(module, name, rate=4.0)],
        pools=[
            pool(
                name,
                [worker(n, runs(module, 41_000), said=said(("info", name * 8))) for n in (1, 2)],
                oldest_wait=42_000,
                since_free=42_000,
                queue=4,
                max_queue=None,
            )
        ],
        failures=[failure(f"{name}/{name}", name, 3, message=name * 9, replay="slither " + name)],
        events=[event(5, "death", f"{name} {module}")],
    )


HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def hostile() -> Map:
    """Names and texts that are markup, or turn the direction of writing."""
    begun = words_pipe(HOSTILE)
    begun["stages"][1]["name"] = HOSTILE + "\u202e"
    begun["edges"][0]["to"] = HOSTILE
    begun["edges"].append(edge("split", HOSTILE, 1.0, output=True))
    return snapshot(
        "failing",
        f"Failing: {HOSTILE}",
        evidence=[{"rule": HOSTILE, "text": f"evidence {HOSTILE}", "pool": HOSTILE}],
        name=HOSTILE,
        pipes=[begun],
        stages=[python(HOSTILE, HOSTILE, rate=1.0)],
        pools=[
            pool(
                HOSTILE,
                [worker(1, runs(HOSTILE, 10), said=said((HOSTILE, HOSTILE)), status=HOSTILE)],
                error={"reason": HOSTILE, "message": HOSTILE},
            )
        ],
        failures=[
            failure(
                HOSTILE,
                HOSTILE,
                1,
                frame=HOSTILE,
                message=HOSTILE,
                traceback=HOSTILE,
                replay=HOSTILE,
            )
        ],
        stores=[
            {
                **{"store": HOSTILE, "writes_rate": 0, "durable": False},
                "tables": [{"name": HOSTILE, "rows": 1, "memory": 1}],
            }
        ],
        sessions=[{"pool": HOSTILE, "id": HOSTILE, "worker": None, "status": HOSTILE}],
        checkpoints=[{"path": HOSTILE, "pipe": HOSTILE, "finished": 1}],
        events=[event(1, HOSTILE, HOSTILE)],
    )


ALL: dict[str, Callable[[], Map]] = {
    it.__name__: it
    for it in (
        *(healthy, hung, failing, cannot_start, idle, bare, two_pipes, many_pipes, long_pipe),
        *(many_workers, long_names, hostile),
    )
}
