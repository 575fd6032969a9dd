from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import typed

import slither
from slither import worker
from slither._worker import registry

MODULES = [
    "slither",
    "slither.pipe",
    "slither.testing",
    "slither.worker",
    "slither.views",
    "slither.metrics",
    "slither.logs",
    "slither.protocol",
    "slither.erlport",
    "slither.replay",
]


@pytest.mark.parametrize("name", MODULES)
def test_all_names_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    for public in module.__all__:
        assert getattr(module, public).__doc__ or public in ("VERSION", "__version__")
    own = {
        public
        for public, value in vars(module).items()
        if not public.startswith("_") and getattr(value, "__module__", None) == name
    }
    assert own <= set(module.__all__)


def test_importing_slither_is_cheap() -> None:
    script = "import sys, json, slither; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    loaded = set(json.loads(out))
    assert not loaded & {"numpy", "asyncio", "dataclasses", "msgpack", "logging"}


def test_a_worker_starts_without_numpy_and_asyncio() -> None:
    script = "import sys, json, slither._worker.main; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert not set(json.loads(out)) & {"numpy", "asyncio"}


def test_every_error_has_one_base() -> None:
    errors = [getattr(slither, name) for name in slither.__all__ if name.endswith("Error")]
    assert all(issubclass(error, slither.SlitherError) for error in errors)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., object]]:
    monkeypatch.setattr(registry, "commands", {})
    return registry.commands


def test_handlers_register_under_a_name(commands: dict[str, Callable[..., object]]) -> None:
    def one(items: list[int]) -> list[int]:
        return items

    assert worker.batch_handler(one) is one
    assert worker.batch_handler("two")(one) is one
    assert commands == {"one": one, "two": one}


def test_a_name_is_taken_once(commands: dict[str, Callable[..., object]]) -> None:
    def make() -> Callable[[list[int]], list[int]]:
        @worker.batch_handler("same")
        def handler(items: list[int]) -> list[int]:
            return items

        return handler

    make()
    again = make()
    assert commands["same"] is again
    with pytest.raises(ValueError, match="'same' is already taken by"):
        worker.batch_handler("same")(len)


def test_to_import_the_package_is_enough_for_its_modules() -> None:
    code = "import slither as s; print(s.pipe.retry(), s.worker, s.store, s.views, s.testing)"
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "slither.testing" in made.stdout


def test_a_handler_must_be_callable() -> None:
    with pytest.raises(TypeError, match="a function or a name, not 5"):
        worker.batch_handler(5)  # type: ignore[call-overload]


def test_decorators_keep_the_signature() -> None:
    assert typed.bare([1]) == ["1"]
    assert typed.named([1], scale=2.0) == [2.0]
