from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from blob_handlers import is_mapped, look, total

import slither
from slither._types import Payload
from slither._wire import blobs, codec

ARRAY = np.arange(400_000, dtype=np.float64)


@pytest.fixture(scope="module")
def beam() -> Iterator[slither.Beam]:
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


def test_the_folder_goes_with_the_beam() -> None:
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
