from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from blob_handlers import (
    doubled,
    is_mapped,
    kept,
    killed_once,
    look,
    numbers,
    same,
    total,
    waits,
    without_room,
)

import slither
from slither._types import Payload
from slither._wire import blobs, codec

ARRAY = np.arange(400_000, dtype=np.float64)


@pytest.fixture(scope="module")
def beam(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(workers=2) as made:
        yield made


def files(beam: slither.Beam) -> list[str]:
    folder = beam._link.blobs()
    assert folder is not None
    return [name for _, _, names in os.walk(folder) for name in names]


class TestABlob:
    def test_is_the_value_for_every_worker_and_goes_with_its_block(
        self, beam: slither.Beam
    ) -> None:
        with beam.blob(ARRAY) as blob:
            wanted = (float(ARRAY.sum()), False, True)
            items: list[Payload] = [blob, {"in": [blob]}, (blob, 1)]
            assert list(beam.map(look, items)) == [wanted] * 3
            # The hint says an array, and that is what comes.
            kept: Payload = blob
            assert beam.submit(total, kept, 1.0).result() == wanted[0] + 1
            assert np.array_equal(blob.value(), ARRAY)
            assert repr(blob) == f"<slither.Blob {blob.nbytes} bytes>"
            assert blob.nbytes == ARRAY.nbytes + 32
        assert blob.closed
        assert files(beam) == []
        with pytest.raises(
            slither.EncodeError, match=r"args\[0\]: a slither.Blob that is closed"
        ):
            beam.submit(total, kept).result()
        with pytest.raises(slither.UnknownBlob, match="is closed"):
            blob.value()

    def test_of_bytes_is_a_view_of_them(self, beam: slither.Beam) -> None:
        for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
            blob: Payload = beam.blob(data)
            assert bytes(blob.value()) == b"abc"
            assert beam.submit(bytes, blob).result() == b"abc"
        assert bytes(beam.blob(b"").value()) == b""

    def test_goes_with_its_last_holder(self, beam: slither.Beam) -> None:
        blob = beam.blob(b"abc")
        assert len(files(beam)) == 1
        del blob
        assert files(beam) == []

    def test_that_is_gone_fails_its_item_alone(self, beam: slither.Beam) -> None:
        gone, there = beam.blob(ARRAY), beam.blob(ARRAY)
        os.unlink(blobs.path_of(gone.name))
        items: list[Payload] = [gone, there]
        gave = list(beam.map(total, items, batch_size=2, on_error="return"))
        assert gave[1] == float(ARRAY.sum())
        assert isinstance(gave[0], slither.CallError)
        assert gave[0].kind == "unknown_blob"
        assert "it was deleted" in str(gave[0])

    def test_holds_bytes_arrays_and_tables_alone(self, beam: slither.Beam) -> None:
        for value in ([1], "text", 1, np.float64(1)):
            with pytest.raises(TypeError, match="a blob holds bytes, an array or a table"):
                beam.blob(value)
        with pytest.raises(TypeError, match="an array of dtype object cannot be sent"):
            beam.blob(np.array([object()]))
        assert files(beam) == []

    def test_without_room_is_an_error_that_says_so(
        self, beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_descriptor: int, _data: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"a blob of 3 bytes can't be written: .*--shm-size"):
            beam.blob(b"abc")
        monkeypatch.undo()
        assert files(beam) == []

    def test_is_pickled_as_what_becomes_its_value(self, beam: slither.Beam) -> None:
        blob = beam.blob(ARRAY)
        assert np.array_equal(pickle.loads(pickle.dumps(blob)), ARRAY)

    def test_is_mapped_once_while_somebody_has_it(self, beam: slither.Beam) -> None:
        blob = beam.blob(ARRAY)
        assert blob.value() is blob.value()
        assert is_mapped(blob.value())


def test_the_folder_goes_with_the_beam(escript: Path) -> None:
    with slither.Beam(workers=1) as beam:
        blob = beam.blob(ARRAY)
        folder = beam._link.blobs()
        assert folder is not None
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert os.stat(blobs.path_of(blob.name)).st_mode & 0o777 == 0o600
    assert not os.path.exists(folder)
    blob.close()
    with pytest.raises(slither.BeamClosed):
        beam.blob(b"abc")


class TestAReference:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Iterator[Path]:
        path = tmp_path / "slither-1-1-1-abcabcabcabcabca"
        path.mkdir()
        yield path
        blobs._folders.pop(blobs.know(str(path)))

    def test_to_a_link_is_not_followed(self, folder: Path) -> None:
        (folder / "secret").write_bytes(b"abc")
        (folder / "link").symlink_to(folder / "secret")
        identity = blobs.know(str(folder))
        for use in (blobs.SHARED, blobs.OWN):
            there = blobs.Reference(blobs.BYTES, use, 3, f"{identity}/secret")
            assert bytes(blobs.value_of(there)) == b"abc"
            link = blobs.Reference(blobs.BYTES, use, 3, f"{identity}/link")
            with pytest.raises(slither.UnknownBlob):
                blobs.value_of(link)

    def test_of_another_size_is_refused(self, folder: Path) -> None:
        (folder / "file").write_bytes(b"abc")
        name = f"{blobs.know(str(folder))}/file"
        with pytest.raises(slither.DecodeError, match="has not the 4 bytes that it had"):
            blobs.value_of(blobs.Reference(blobs.BYTES, blobs.OWN, 4, name))

    def test_of_a_file_that_holds_something_else_is_refused(self, folder: Path) -> None:
        (folder / "file").write_bytes(b"\x07float64\x01")
        name = f"{blobs.know(str(folder))}/file"
        with pytest.raises(slither.DecodeError, match="a tensor's header is cut short"):
            blobs.value_of(blobs.Reference(3, blobs.OWN, 9, name))

    def test_is_left_unmade_where_it_is_decoded(self) -> None:
        packed = blobs.Reference(blobs.BYTES, blobs.SHARED, 3, "nobody/knows").packed()
        assert blobs.decode(packed).name == "nobody/knows"
        assert codec.decode_frame(codec.encode([blobs.decode(packed)])) == [blobs.decode(packed)]


def folders(beam: slither.Beam) -> list[str]:
    folder = beam._link.blobs()
    assert folder is not None
    return os.listdir(folder)


class TestALargeValue:
    def test_goes_by_shared_memory_both_ways_and_is_one_s_own(self, beam: slither.Beam) -> None:
        assert list(beam.map(is_mapped, [ARRAY] * 3, batch_size=2)) == [True] * 3
        results = list(beam.map(doubled, [ARRAY] * 3, batch_size=1, ordering="as_completed"))
        result = beam.submit(doubled, ARRAY).result()
        for array in (*results, result):
            assert np.array_equal(array, ARRAY * 2)
            assert is_mapped(array)
            array[0] = 1
        assert ARRAY[0] == 0
        assert folders(beam) == []

    def test_of_bytes_comes_as_bytes(self, beam: slither.Beam) -> None:
        large = os.urandom(blobs.OVER)
        values = [large, bytearray(large), large[1:], b"small"]
        gave = list(beam.map(same, values, batch_size=2))
        assert gave == values
        assert [type(value) for value in gave] == [bytes] * 4
        assert beam.submit(same, large).result() == large
        assert folders(beam) == []

    def test_of_a_call_with_small_ones_goes_so_in_a_map(self, beam: slither.Beam) -> None:
        gave = list(beam.map(numbers, [200_000, 10]))
        assert [is_mapped(array) for array in gave] == [True, False]
        # What nobody asks for would have no end that takes it away.
        assert not is_mapped(beam.submit(numbers, 200_000).result())
        assert folders(beam) == []

    def test_goes_by_the_pipe_where_there_is_no_room(
        self, beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_path: str, _pieces: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(blobs, "write", full)
        assert list(beam.map(is_mapped, [ARRAY])) == [False]
        assert beam.submit(total, ARRAY).result() == float(ARRAY.sum())
        monkeypatch.undo()
        with slither.Beam(workers=1) as other:
            (array,) = other.map(without_room, [200_000])
            assert np.array_equal(array, numbers(200_000))
            assert not is_mapped(array)
            assert folders(other) == []

    def test_goes_by_the_pipe_where_failures_are_captured(
        self, escript: Path, tmp_path: Path
    ) -> None:
        with slither.Beam(workers=1, pool={"capture_failures": str(tmp_path)}) as other:
            assert list(other.map(is_mapped, [ARRAY])) == [False]
            assert other.submit(total, ARRAY).result() == float(ARRAY.sum())

    def test_is_there_for_another_try(self, beam: slither.Beam) -> None:
        again = slither.pipe.retry(max_attempts=3, base=0.01)
        gave = list(beam.map(killed_once, [ARRAY, ARRAY], batch_size=1, on_error=again))
        assert gave == [float(ARRAY.sum())] * 2
        assert folders(beam) == []

    def test_leaves_nothing_where_nobody_reads_it(
        self, beam: slither.Beam, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        results = beam.map(waits, [str(go)] * 8, [ARRAY] * 8, batch_size=1)
        future = beam.submit(waits, str(go), ARRAY)
        killed = beam.submit(waits, str(tmp_path / "never"), ARRAY)
        go.touch()
        assert len(next(results)) == len(ARRAY)
        future.exception()
        killed.kill()
        with pytest.raises(slither.CallKilled):
            killed.result()
        assert len(folders(beam)) >= 1
        results.close()
        del future, killed
        unread = beam.submit(doubled, ARRAY)
        while not unread.done():
            time.sleep(0.01)
        assert len(folders(beam)) == 1
        del unread
        # What settled it may have it for a moment yet.
        while folders(beam):
            time.sleep(0.01)

    def test_that_a_handler_puts_into_a_table_stays_there(self, beam: slither.Beam) -> None:
        table = beam.table("kept")
        assert list(beam.map(kept, [ARRAY])) == [len(ARRAY)]
        assert np.array_equal(table["array"], ARRAY)

    def test_goes_by_the_pipe_in_pipes_where_beam_may_look_at_it(
        self, beam: slither.Beam
    ) -> None:
        pipe = slither.Pipe("large").python("mapped", is_mapped)
        assert beam.run(pipe, [ARRAY])["default"] == [False]

    def test_keeps_the_blobs_in_a_call_until_that_is_over(self, beam: slither.Beam) -> None:
        whole = float(ARRAY.sum())
        items: Iterator[Payload] = (beam.blob(ARRAY) for _ in range(4))
        assert list(beam.map(total, items, batch_size=1)) == [whole] * 4
        call: Payload = beam.blob(ARRAY)
        future = beam.submit(total, call)
        del call
        assert future.result() == whole
        del future
        while files(beam):
            time.sleep(0.01)
