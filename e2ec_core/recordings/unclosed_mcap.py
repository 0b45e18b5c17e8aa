"""MCAP files without an end, as a recorder leaves them that was killed or ran out of disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, cast

MAGIC = b"\x89MCAP0\r\n"
# Records "end of data" and "footer" of the format, for a file without index.
ENDING = b"\x0f" + (4).to_bytes(8, "little") + bytes(4)
ENDING += b"\x02" + (20).to_bytes(8, "little") + bytes(20) + MAGIC
RECORD_HEAD = 9  # bytes: type and length
FOOTER, CHUNK, DATA_END = 0x02, 0x06, 0x0F  # types of records
CHUNK_HEAD = 40  # bytes: times, size, checksum, compression (an empty text), size of the records


class UnclosedMcap(type(Path())):  # type: ignore[misc]  # the class of paths of this system
    """The path of an MCAP file; opened, the file ends after its last whole record."""

    def open(self, *_: object, **__: object) -> BinaryIO:
        """Opens the file for reading bytes; the file itself stays as it is."""
        return cast("BinaryIO", _Ended(Path(self)))


def is_unclosed(path: Path) -> bool:
    """Whether a file begins as MCAP and does not end as it; OSError if it cannot be read."""
    with path.open("rb") as file:
        begins = file.read(len(MAGIC)) == MAGIC
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - len(MAGIC)))
        return begins and (size <= len(MAGIC) or file.read() != MAGIC)


class _Ended(io.BufferedIOBase):
    """The whole records of a file, followed by the ending that it lacks."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        size = self._file.seek(0, io.SEEK_END)
        end = _whole_records(self._file, len(MAGIC), size)
        self._parts = [(0, end)]  # (begin, end) in the file
        inside = _begin_of_plain_chunk(self._file, end)
        if inside:  # the messages of the chunk in which the file was cut
            self._parts.append((inside, _whole_records(self._file, inside, size)))
        self._size = sum(end - begin for begin, end in self._parts) + len(ENDING)
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, count: int | None = -1) -> bytes:
        wanted = self._size if count is None or count < 0 else count
        data = b""
        offset = 0  # of the part in what is read here
        for begin, end in self._parts:
            skip = self._position + len(data) - offset
            if len(data) < wanted and skip < end - begin:
                self._file.seek(begin + skip)
                data += self._file.read(min(end - begin - skip, wanted - len(data)))
            offset += end - begin
        skip = max(self._position + len(data) - offset, 0)
        if self._position + len(data) >= offset:
            data += ENDING[skip : skip + wanted - len(data)]
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _whole_records(file: BinaryIO, begin: int, size: int) -> int:
    """Where the last whole record ends, of those that begin at `begin`."""
    while begin + RECORD_HEAD <= size:
        file.seek(begin)
        kind, *length = file.read(RECORD_HEAD)
        end = begin + RECORD_HEAD + int.from_bytes(bytes(length), "little")
        if end > size or kind in (0x00, FOOTER, DATA_END):
            break
        begin = end
    return begin


def _begin_of_plain_chunk(file: BinaryIO, position: int) -> int:
    """Where the records of an uncompressed chunk begin; 0 if there is none at the position."""
    file.seek(position)
    head = file.read(RECORD_HEAD + CHUNK_HEAD)
    plain = len(head) == RECORD_HEAD + CHUNK_HEAD and head[0] == CHUNK and not any(head[37:41])
    return position + len(head) if plain else 0
