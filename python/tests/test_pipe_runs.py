from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import driven
import pytest

import slither
from slither import Pipe, item
from slither._types import Payload
from slither._wire import batches
from slither.pipe import retry, route

score = (
    Pipe("score")
    .beam("prepare", {"n": item, "text": "number"})
    .python("predict", driven.predict, batch_size=8, max_in_flight=2)
    .route("route", accept=item["score"] >= 0.8, review=item["score"] >= 0.4)
    .output("accept", "review")
)


def numbers(payloads: list[dict[str, Payload]]) -> list[int]:
    return [payload["n"] for payload in payloads]


def test_outputs_come_by_name_in_order(beam: slither.Beam) -> None:
    outputs = beam.run(score, range(100))
    assert sorted(outputs) == ["accept", "default", "review"]
    assert numbers(outputs["accept"]) == [n for n in range(100) if n % 10 >= 8]
    assert numbers(outputs["review"]) == [n for n in range(100) if 4 <= n % 10 < 8]
    assert numbers(outputs["default"]) == [n for n in range(100) if n % 10 < 4]
    assert outputs.summary.outputs == {"accept": 20, "review": 40, "default": 40}
    assert outputs.summary.stages["predict"].items == 100


def test_a_stream_gives_outputs_in_order(beam: slither.Beam) -> None:
    stream = beam.stream(score, range(50))
    got = list(stream)
    assert numbers([value for _, value in got]) == list(range(50))
    assert {name for name, _ in got} == {"accept", "review", "default"}


def test_what_is_no_pipe_is_refused(beam: slither.Beam) -> None:
    with pytest.raises(TypeError, match=r"a pipe is a slither\.Pipe, not 'score'"):
        beam.run("score", [1])  # type: ignore[arg-type]


def test_no_items_give_empty_outputs(beam: slither.Beam) -> None:
    assert dict(beam.run(score, [])) == {"accept": [], "review": [], "default": []}


def test_an_infinite_input_is_pulled_as_outputs_are_taken(beam: slither.Beam) -> None:
    last = 0

    def count() -> Iterator[int]:
        nonlocal last
        while True:
            last += 1
            yield last

    stream = beam.stream(score, count())
    for taken, _ in enumerate(itertools.islice(stream, 5_000)):
        assert last < taken + 1_500
    stream.close()


def test_outputs_do_not_run_ahead_of_their_reader(beam: slither.Beam) -> None:
    many = (
        Pipe("many")
        .python("fan", driven.fan, batch_size=1)
        .beam("each", item, cardinality="many")
    )
    pulled: list[int] = []

    def count() -> Iterator[int]:
        for n in itertools.count():
            pulled.append(n)
            yield 100

    stream = beam.stream(many, count())
    assert len(list(itertools.islice(stream, 300))) == 300
    assert len(pulled) < 400
    stream.close()


def test_a_failed_item_stops_the_run_with_what_came_before(beam: slither.Beam) -> None:
    fives = Pipe("fives").python("no_fives", driven.one_no_fives, batch_size=2)
    with pytest.raises(slither.RunError) as caught:
        beam.run(fives, range(10))
    assert str(caught.value).startswith("pipe 'fives', stage 'no_fives', item 5: ValueError:")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.partial == {"default": [0, 1, 2, 3, 4]}


def test_policies_skip_route_and_retry(beam: slither.Beam, tmp_path: Path) -> None:
    fives = Pipe("fives").python("no_fives", driven.one_no_fives, batch_size=2)
    skipped = beam.run(fives.on_error("no_fives", "skip"), range(20))
    assert skipped["default"] == [n for n in range(20) if n % 10 != 5]
    assert (skipped.summary.skipped, skipped.summary.errors) == (2, {"ValueError": 2})
    assert "error: ValueError 2" in str(skipped.summary)
    routed = beam.run(fives.output("bad").on_error("*", route("bad")), range(20))
    assert routed["bad"] == [5, 15]
    assert [type(error) for error in routed.errors["bad"].values()] == [ValueError, ValueError]
    again = Pipe("again").python("once", driven.one_once_failed)
    mended = beam.run(
        again.on_error("*", retry(max_attempts=2, base=0.001)), [str(tmp_path / "a")]
    )
    assert mended["default"] == ["mended"]


def test_an_item_over_its_time_takes_the_way_of_its_policy(beam: slither.Beam) -> None:
    hangs = Pipe("p").python("s", "driven:hangs_at_three", batch_size=8, item_timeout=0.5)
    outputs = beam.run(hangs.output("late").on_error("s", route("late")), range(8))
    assert outputs["late"] == [3]
    assert outputs["default"] == [0, 1, 2, 4, 5, 6, 7]
    assert outputs.errors["late"][0].args[1]["timeout"] == 0.5


def test_a_stage_over_its_time_says_so_in_seconds(beam: slither.Beam) -> None:
    hangs = Pipe("p").python("s", "driven:hangs_at_three", batch_size=8, timeout=0.5)
    with pytest.raises(slither.RunError, match=r"more than 0.5 s; .* \(raise timeout=") as caught:
        beam.run(hangs, [3])
    assert isinstance(caught.value.__cause__, slither.CallTimeout)


def test_an_expression_over_a_missing_field_names_it(beam: slither.Beam) -> None:
    names = Pipe("names").beam("name", item["user"]["name"])
    with pytest.raises(slither.RunError, match=r"""(?s)stage 'name', item 1.*name""") as caught:
        beam.run(names, [{"user": {"name": "a"}}, {"user": {}}])
    assert caught.value.partial == {"default": ["a"]}
    assert caught.value.summary is not None
    assert caught.value.summary.errors == {"expression": 1}
    skipped = beam.run(names.on_error("*", "skip"), [1, {"user": {"name": "b"}}, {}])
    assert (skipped["default"], skipped.summary.errors) == (["b"], {"expression": 2})
    assert skipped.summary.stages["name"].errors == {"expression": 2}


def test_an_input_that_raises_keeps_what_came_before(beam: slither.Beam) -> None:
    def count() -> Iterator[int]:
        yield from range(10)
        raise LookupError("the file ends here")

    with pytest.raises(slither.RunError, match="input failed after 10 items: LookupError") as run:
        beam.run(score, count())
    assert isinstance(run.value.__cause__, LookupError)
    assert sum(map(len, run.value.partial.values())) == 10
    got: list[Payload] = []
    with pytest.raises(LookupError):
        got.extend(beam.stream(score, count()))
    assert len(got) == 10


def test_an_item_that_cannot_be_sent_is_named(beam: slither.Beam) -> None:
    with pytest.raises(slither.RunError, match=r"EncodeError: items\[2\]: a range") as caught:
        beam.run(Pipe("p").beam("echo", item), [0, 1, range(2), 3])
    assert caught.value.partial == {"default": [0, 1]}


def test_items_too_large_for_a_frame_go_in_parts(
    beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LIMIT", 1_000)
    same = Pipe("same").beam("same", item)
    items = ["x" * 400, "y" * 400, "z" * 900, "a"] * 3
    assert beam.run(same, items)["default"] == items
    with pytest.raises(
        slither.RunError, match=r"items\[1\]: 2003 bytes cannot be sent"
    ) as caught:
        beam.run(same, ["a", "y" * 2_000, "b"])
    assert caught.value.partial == {"default": ["a"]}


def test_a_handler_that_is_not_there_is_told(beam: slither.Beam) -> None:
    lost = Pipe("lost").python("stage", "no_such_module:function")
    with pytest.raises(slither.RunError, match="no module is named 'no_such_module'"):
        beam.run(lost, [1])


def test_a_document_that_beam_refuses_names_the_path(beam: slither.Beam) -> None:
    with pytest.raises(slither.RunError, match=r"stores\[0\].table: no running store has"):
        beam.run(score.store("nowhere"), [1])


def test_a_pipe_uses_a_table(beam: slither.Beam) -> None:
    seen = beam.store("seen_by_pipe")
    pipe = Pipe("p").store("seen", seen).python("mark", driven.mark)
    beam.run(pipe, ["a", "b", "a"])
    assert dict(seen) == {"a": 2, "b": 1}


def test_a_run_with_a_checkpoint_goes_on_where_it_was(beam: slither.Beam, tmp_path: Path) -> None:
    fives = Pipe("fives").python("work", driven.until_told, batch_size=2)
    rows = [[n, str(tmp_path / "mended")] for n in range(20)]
    path = tmp_path / "run.checkpoint"
    with pytest.raises(slither.RunError):
        beam.run(fives, rows, checkpoint=path)
    (tmp_path / "mended").touch()
    outputs = beam.run(fives, rows, checkpoint=path)
    assert [n for n, _ in outputs["default"]] == list(range(20))
    # What was finished before was not done again.
    calls = [attempt for _, attempt in outputs["default"]]
    assert calls[:10] == ["first"] * 10
    with pytest.raises(slither.RunError, match="is of another pipe, or of other options"):
        beam.run(score, [1], checkpoint=path)


def test_a_function_of_one_item_that_got_the_list_is_told_so(beam: slither.Beam) -> None:
    with pytest.raises(slither.RunError) as caught:
        beam.run(Pipe("p").python("s", "driven:of_one_row", each=False), [{"a": 1}])
    assert isinstance(caught.value.__cause__, TypeError)
    told = str(caught.value.__cause__.__cause__)
    assert "the function was given the list of a batch's items" in told
    assert "given with each=True" in told


def test_async_forms(beam: slither.Beam) -> None:
    async def count() -> AsyncIterator[int]:
        for n in range(50):
            await asyncio.sleep(0)
            yield n

    async def main() -> None:
        outputs = await beam.arun(score, count())
        assert outputs == beam.run(score, range(50))
        got = [name async for name, _ in beam.astream(score, range(10))]
        assert got == ["default"] * 4 + ["review"] * 4 + ["accept"] * 2
        with pytest.raises(slither.RunError) as caught:
            await beam.arun(Pipe("p").python("no", driven.no_sixes, batch_size=4), range(10))
        assert caught.value.partial == {"default": [0, 1, 2, 3]}

    asyncio.run(main())


def test_a_method_of_a_built_in_type_is_a_handler(beam: slither.Beam) -> None:
    pipe = Pipe("copies").python("copy", list.copy).python("all", list.copy, each=False)
    assert beam.run(pipe, [[1], [2]]) == {"default": [[1], [2]]}
