"""Pipes that say all that a pipe can say; protocol/vectors/documents.json has their documents."""

from __future__ import annotations

from slither import Pipe, item, when
from slither.pipe import error, fail, retry, route, skip
from slither.worker import item_handler


def predict_batch(rows: list[dict[str, str]]) -> list[dict[str, float]]:
    return [{"score": len(row["text"]) / 10} for row in rows]


class Model:
    @staticmethod
    def apply(rows: list[int]) -> list[int]:
        return rows


@item_handler("pipe_samples.halve")
def halve(number: float) -> float:
    return number / 2


score = (
    Pipe("score")
    .store("features", "features")
    .beam("prepare", {"text": item})
    .python("predict", predict_batch, batch_size=32, max_in_flight=4)
    .route("route", accept=item["score"] >= 0.8, review=item["score"] >= 0.4)
    .output("accept", "review")
    .on_error("predict", "skip")
    .on_error("*", "halt")
)

expressions = (
    Pipe("expressions")
    .beam("words", item["text"].strip().lower().split(), cardinality="many")
    .beam(
        "drop",
        when(item.len() < 3)
        .then(skip("short"))
        .when(item == "!")
        .then(fail("bad"))
        .otherwise(item),
    )
    .beam("count", {"word": item, "size": item.len(), "known": ~item.is_in(["a", "b"]) & True})
    .route(
        "way",
        {"long-words": (item["size"] > 9) | (item["size"] % 2 == 0)},
        last=item.get("mark", None).is_none() & item["word"].startswith("x"),
    )
    .beam(
        "arithmetic", [item["size"] + 1, -item["size"] * 2.5, item["size"] // 2, 1 / item["size"]]
    )
    .beam("last", [item, item, {"const": [None, True, 1, "é"]}])
    .output("long-words")
)

stages = (
    Pipe("stages")
    .python("auto", "my_model:Model.predict", batch_size="auto", batch_time=0.02,
            min_batch_size=2, max_batch_size=500, ordering="as_completed", isolate=True)
    .python("weighed", Model.apply, weight=item["text"].len(), max_weight=1000, timeout=None)
    .python("keyed", command="embed", key=item["user"], window=200, queue_timeout=5,
            cardinality="many")
    .python("each", halve, pool="default", max_in_flight_bytes=1 << 20, timeout=1.0,
            item_timeout=0.1)
    .batch("pages", size=10, timeout=0.25)
    .batch("rest")
)  # fmt: skip

policies = (
    Pipe("policies")
    .beam("a", item["a"])
    .beam("b", item["b"])
    .beam("c", item["c"])
    .beam("d", item["d"])
    .output("broken", "late")
    .on_error("a", route("broken"))
    .on_error("b", route(when(error["reason"] == "timeout").then("late").otherwise("broken")))
    .on_error("c", retry(max_attempts=5, base=0.01, max=1, jitter=False,
                         on=["timeout", "worker_died"], then=route("late")))
    .on_error("d", retry(on="any", then="skip"))
    .on_error("*", retry())
)  # fmt: skip

clean = Pipe("clean").route("empty", bad=item == "", short=item.len() < 2).output("bad", "short")

nested = (
    Pipe("nested")
    .pipe("clean", clean, outputs={"bad": "rejected"})
    .pipe("twice", Pipe("outer").pipe("clean", clean).output("bad", "short"), {"bad": "rejected"})
    .output("rejected", "short")
    .on_error("clean", "skip")
)

SAMPLES = [score, expressions, stages, policies, nested]
