from __future__ import annotations

import builtins
import contextlib
import copy
import decimal
import json
import pickle
import subprocess
import sys
import threading
import traceback
import urllib.error
from collections.abc import Callable

import numpy as np
import pytest
import raising
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import slither
from slither import Pipe
from slither._driver.errors_in import RemoteTraceback, to_error, to_exception
from slither._types import Payload
from slither._wire.checks import MAX_EXCEPTIONS, is_error
from slither._worker import errors_out
from slither.pipe import route
from slither.protocol import pack, unpack

PATIENCE = 60.0
Group: Payload = getattr(builtins, "ExceptionGroup", Exception)


def fault_of(error: BaseException) -> dict[str, Payload]:
    """What a driver gets of an exception that a handler raised."""
    told = errors_out.exception_error(error)
    sent: dict[str, Payload] = unpack(pack(told))
    assert is_error(sent)
    return {**sent, "kind": "python_exception"}


def sent(error: BaseException) -> BaseException:
    return to_exception(fault_of(error))


def caught(function: Callable[[Payload], object]) -> BaseException:
    with pytest.raises(BaseException) as info:  # noqa: PT011
        function(0)
    return info.value


def test_attributes_come_back_and_no_init_runs() -> None:
    error = sent(raising.Status("gone", status=404))
    assert (type(error), error.args, str(error)) == (
        raising.Status,
        ("gone (404)",),
        "gone (404)",
    )
    assert vars(error) == {"status": 404}


def test_no_code_of_a_class_runs_while_its_exception_is_made_again() -> None:
    error = raising.Frozen("a")
    error.__dict__["b"] = 1
    told = fault_of(error)
    raising.Frozen.made = 0
    again = to_exception(told)
    assert (type(again), again.args, vars(again)) == (raising.Frozen, ("a",), {"b": 1})
    assert raising.Frozen.made == 0


def test_slots_and_what_c_holds_come_back_and_properties_are_left_alone() -> None:
    error = raising.Slotted(2, "no such file", "a", None, "b")
    error.whole, error._part = {"n": 1}, 7
    again = sent(error)
    assert isinstance(again, raising.Slotted)
    assert (again.errno, again.strerror, again.filename, again.filename2) == (
        2,
        "no such file",
        "a",
        "b",
    )
    assert (again.args, again.whole, again.part) == ((2, "no such file"), {"n": 1}, 7)


def test_exceptions_of_the_standard_library_come_back_as_themselves() -> None:
    unread = sent(caught(raising.unread))
    assert isinstance(unread, json.JSONDecodeError)
    assert (unread.doc, unread.pos, unread.lineno, unread.colno) == ("{", 1, 1, 2)
    failed = sent(caught(raising.failed))
    assert isinstance(failed, subprocess.CalledProcessError)
    assert (failed.returncode, failed.stdout) == (3, b"out\n")
    refused = sent(caught(lambda _: decimal.Decimal("x")))
    assert isinstance(refused, decimal.InvalidOperation)
    assert str(refused) == "[<class 'decimal.ConversionSyntax'>]"
    undecoded = sent(caught(lambda _: b"a\xff".decode()))
    assert isinstance(undecoded, UnicodeDecodeError)
    assert (undecoded.object, undecoded.start, undecoded.end) == (b"a\xff", 1, 2)
    assert str(undecoded) == str(caught(lambda _: b"a\xff".decode()))
    assert (sent(SystemExit(3)).code, sent(KeyError("k")).args) == (3, ("k",))  # type: ignore[attr-defined]
    assert type(sent(raising.Outer.Inner("i"))) is raising.Outer.Inner


def test_an_http_error_has_its_code_and_headers_and_an_empty_body() -> None:
    raised = caught(raising.over_http)
    error = sent(raised)
    assert isinstance(raised, urllib.error.HTTPError)
    assert isinstance(error, urllib.error.HTTPError)
    # Of the two, only this one has something to close.
    raised.close()
    assert (error.code, error.reason, error.filename) == (503, "later", "http://a")
    assert (error.headers["Retry-After"], error.read()) == ("3", b"")
    assert "503" in "".join(traceback.format_exception(error))


def test_notes_causes_and_contexts_come_back() -> None:
    error = sent(caught(raising.chained))
    assert (type(error), vars(error)) == (RuntimeError, {"__notes__": ["a note"]})
    inner = error.__cause__
    assert isinstance(inner, ValueError)
    assert error.args == ("outer", inner)
    assert error.__context__ is inner
    assert isinstance(inner.__cause__, FileNotFoundError)
    assert inner.__cause__.errno == 2
    assert isinstance(inner.__context__, KeyError)
    assert (inner.__suppress_context__, inner.__context__.__suppress_context__) == (True, False)
    # Where the chain begins is the traceback of the worker.
    assert isinstance(inner.__cause__.__cause__, RemoteTraceback)
    assert "in chained" in str(inner.__cause__.__cause__)


def test_a_ring_of_causes_comes_back_and_can_be_shown() -> None:
    one, other = ValueError(1), KeyError(2)
    one.__cause__, other.__cause__ = other, one
    one.__dict__["me"] = one
    again = sent(one)
    assert isinstance(again.__cause__, KeyError)
    assert vars(again)["me"] is again
    assert "KeyError: 2" in "".join(traceback.format_exception(again))


def test_a_chain_is_cut_where_it_is_too_long() -> None:
    error: Exception = ValueError(0)
    for number in range(1, 10 * MAX_EXCEPTIONS):
        outer = ValueError(number)
        outer.__context__, error = error, outer
    told = fault_of(error)
    assert len(told["raised"]) == MAX_EXCEPTIONS
    assert told["raised"][-1]["left_out"] == {"context": "ValueError"}
    again: BaseException | None = to_exception(told)
    for _ in range(MAX_EXCEPTIONS - 1):
        assert again is not None
        again = again.__context__
    assert again is not None
    assert again.__context__ is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no groups")
def test_groups_come_back_with_their_parts() -> None:
    shared = ValueError("v")
    inner = Group("inner", [KeyError("k"), shared])
    outer = Group("outer", [shared, inner])
    outer.__cause__ = inner
    again = sent(outer)
    assert isinstance(again, Group)
    assert (again.message, str(again)) == ("outer", str(outer))
    first, second = again.exceptions
    assert second.exceptions[1] is first
    assert again.__cause__ is second
    assert (type(first), second.exceptions[0].args) == (ValueError, ("k",))
    assert again.split(KeyError)[0] is not None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no groups")
def test_a_group_of_an_unknown_class_is_still_a_group_of_its_parts() -> None:
    Own: Payload = type("Own", (Group,), {})
    again = sent(Own("many", [ValueError(1)]))
    assert isinstance(again, slither.HandlerError)
    assert isinstance(again, Group)
    assert [type(part) for part in again.exceptions] == [ValueError]
    told = fault_of(Own("many", [ValueError(1)]))
    told["raised"][0]["exceptions"] = [0]
    assert isinstance(to_exception(told), slither.HandlerError)


@pytest.mark.parametrize("size", [0, 996, 997, 60_000, 100_000, 5_000_000])
def test_a_class_does_not_hang_on_the_length_of_a_message(size: int) -> None:
    error = sent(ValueError("x" * size))
    assert type(error) is ValueError
    assert error.args[0][:60_000] == "x" * min(size, 60_000)


def test_an_argument_that_cannot_be_sent_leaves_its_looks() -> None:
    error = sent(ValueError("bad", range(2), (1, 2), "\udc80"))
    assert type(error) is ValueError
    assert str(error) == r"('bad', range(0, 2), (1, 2), '\\udc80')"
    assert str(sent(ValueError(range(2)))) == "range(0, 2)"
    assert "Not sent: args[1] (range), args[3] (str)" in str(error.__cause__)


def test_attributes_that_cannot_be_sent_are_left_out_and_named() -> None:
    error = ValueError("v")
    large = [[0] * 1_000] * 1_000
    loop: list[Payload] = []
    loop.append(loop)
    error.__dict__.update(lock=threading.Lock(), large=large, loop=loop, shape=(1, 2), kept=1)
    error.__dict__["\udc80"] = 1
    again = sent(error)
    assert vars(again) == {"shape": (1, 2), "kept": 1}
    assert fault_of(error)["raised"][0]["left_out"] == {
        "lock": "lock",
        "large": "list",
        "loop": "list",
    }


def test_an_exception_that_can_not_say_what_it_is_here_says_it_in_another_class() -> None:
    error = sent(caught(lambda _: np.array(["a"]) + np.array([1])))
    assert isinstance(error, slither.HandlerError)
    assert isinstance(error, TypeError)
    assert "ufunc 'add' did not contain a loop" in str(error)


def test_an_error_is_bounded_in_bytes() -> None:
    error = ValueError(*["x" * 50_000] * 100)
    error.__dict__.update({f"a{n}": "y" * 50_000 for n in range(100)})
    error.__dict__["__notes__"] = ["z" * 50_000] * 100
    again = sent(error)
    assert len(pack(fault_of(error))) < 700_000
    assert (type(again), len(again.args)) == (ValueError, 100)


def test_a_hostile_exception_breaks_nobody() -> None:
    error = raising.Hostile("a")
    told = fault_of(error)
    assert told["message"] == "Hostile (its str() failed)"
    assert type(to_exception(told)) is raising.Hostile
    odd = type("Odd", (ValueError,), {"__module__": 5})("o")
    assert isinstance(sent(odd), ValueError)


def test_what_has_no_class_here_is_an_instance_of_its_nearest_built_in_bases() -> None:
    error = sent(caught(raising.local))
    assert isinstance(error, slither.HandlerError)
    assert isinstance(error, TimeoutError)
    assert isinstance(error, KeyError)
    assert (str(error), error.type) == ("Late: [Errno 110] late", "Late")
    assert (error.errno, error.attributes["strerror"]) == (110, "late")
    assert type(sent(caught(raising.local))) is type(error)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, TimeoutError)
    assert str(copy.copy(error)) == str(error)


@pytest.mark.parametrize("name", ["os", "os.environ", "raising.Outer", "raising.unread", "a.b.c"])
def test_a_name_that_is_no_exception_is_a_handler_error(name: str) -> None:
    told = fault_of(ValueError("v"))
    module, _, kind = name.rpartition(".")
    told["raised"][0].update(module=module, type=kind)
    error = to_exception(told)
    assert isinstance(error, slither.HandlerError)
    assert isinstance(error, ValueError)


def test_an_undecodable_text_that_lies_about_its_places_is_not_made() -> None:
    told = fault_of(caught(lambda _: b"a\xff".decode()))
    for lie in ({"start": -9}, {"end": 9}, {"object": "text"}, {"object": None}):
        wrong = copy.deepcopy(told)
        wrong["raised"][0]["attributes"].update(lie)
        error = to_exception(wrong)
        assert isinstance(error, slither.HandlerError)
        assert isinstance(error, UnicodeDecodeError)
        assert str(error).startswith("UnicodeDecodeError: 'utf-8' codec")


def test_results_and_tasks_get_no_exception_that_would_end_them() -> None:
    for error in (StopIteration(5), SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
        assert type(to_error(fault_of(error))) is slither.HandlerError
    assert type(sent(GeneratorExit())) is slither.HandlerError


NAMES = st.sampled_from(
    (
        "ValueError",
        "OSError",
        "ExceptionGroup",
        "UnicodeDecodeError",
        "KeyError",
        "SyntaxError",
        "StopIteration",
        "MemoryError",
        "BaseException",
        "HTTPError",
        "object",
        "nothing",
    )
)
PLACES = st.integers(0, 3)
VALUES = st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=3), st.lists(st.integers()))
PATHS = st.sampled_from(["args[0]", "args[1]", "args[x]", "errno", "object", "start", "filename"])
TOLD = st.fixed_dictionaries(
    {
        "type": NAMES,
        "module": st.sampled_from(["builtins", "urllib.error", "raising"]),
        "message": st.text(max_size=3),
        "bases": st.lists(NAMES, max_size=3),
    },
    optional={
        "args": st.lists(VALUES, max_size=3),
        "attributes": st.dictionaries(PATHS, VALUES),
        "notes": st.lists(st.text(max_size=3)),
        "left_out": st.dictionaries(PATHS, st.text(max_size=3)),
        "held": st.dictionaries(PATHS, PLACES),
        "cause": PLACES,
        "context": PLACES,
        "suppress_context": st.booleans(),
        "exceptions": st.lists(PLACES, max_size=3),
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TOLD, min_size=4, max_size=4))
def test_whatever_an_error_tells_becomes_an_exception(told: list[dict[str, Payload]]) -> None:
    fault = {"kind": "python_exception", "message": "m", "type": "T", "traceback": "t"}
    assert is_error({**fault, "raised": told})
    for make in (to_exception, to_error):
        error = make({**fault, "raised": told})
        assert isinstance(error, BaseException)
        traceback.format_exception(error)
        # One that is its own argument has no text where it was raised, either.
        with contextlib.suppress(RecursionError):
            str(error)


## Through BEAM


def test_a_future_has_the_exception_that_was_raised(beam: slither.Beam) -> None:
    def error(function: Callable[[int], Payload], item: int = 0) -> BaseException | None:
        return beam.submit(function, item).exception(PATIENCE)

    gone = error(raising.status, 404)
    assert isinstance(gone, raising.Status)
    assert (gone.status, gone.args) == (404, ("gone (404)",))
    ended = error(raising.ends)
    assert isinstance(ended, SystemExit)
    assert ended.code == 3
    assert isinstance(error(raising.interrupted), KeyboardInterrupt)
    assert isinstance(error(raising.missing), FileNotFoundError)
    outer = error(raising.chained)
    assert isinstance(outer, RuntimeError)
    assert isinstance(outer.__cause__, ValueError)
    assert isinstance(outer.__cause__.__cause__, FileNotFoundError)
    assert isinstance(error(raising.local), KeyError)
    assert type(error(raising.hostile)) is raising.Hostile


def test_a_future_has_no_stop_iteration_where_asyncio_would_wait_for_ever(
    beam: slither.Beam,
) -> None:
    error = beam.submit(raising.stops, 0).exception(PATIENCE)
    if sys.version_info >= (3, 12, 1):
        assert isinstance(error, StopIteration)
        assert error.value == 5
    else:
        assert type(error) is slither.HandlerError


def test_items_of_a_map_and_outputs_of_a_pipe_have_their_exceptions(beam: slither.Beam) -> None:
    got: list[Payload] = list(beam.map(raising.status, [404, 503], on_error="return"))
    assert [type(error) for error in got] == [raising.Status] * 2
    assert [error.status for error in got] == [404, 503]
    pipe = (
        Pipe("p")
        .python("s", "raising:statuses", each=False)
        .on_error("s", route("bad"))
        .output("bad")
    )
    outputs = beam.run(pipe, [404])
    error: Payload = outputs.errors["bad"][0]
    assert (type(error), error.status) == (raising.Status, 404)
