"""Names of headers that are not UTF-8. kafka-python takes the whole record for corrupt and would stop at its offset for ever."""

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint


class _Batch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    def _read_msg(self) -> Any:
        start = self._pos
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            spell_out(self._buffer, start)
            return super()._read_msg()


def install() -> None:
    """From now on every consumer of this process reads such records, with "?" for each byte of the name that is not ASCII."""
    memory_records.DefaultRecordBatch = _Batch


def spell_out(record: bytearray, start: int) -> None:
    """In place: header names of the record (format 2) at `start` that are not UTF-8 become ASCII of the same length."""
    pos = start
    _, pos = decode_varint(record, pos)  # length
    _, pos = decode_varint(record, pos)  # attributes
    _, pos = decode_varint(record, pos)  # timestamp
    _, pos = decode_varint(record, pos)  # offset
    for _ in ("key", "value"):
        size, pos = decode_varint(record, pos)
        pos += max(size, 0)
    count, pos = decode_varint(record, pos)
    for _ in range(count):
        size, pos = decode_varint(record, pos)
        name = record[pos : pos + size]
        try:
            name.decode()
        except UnicodeDecodeError:
            record[pos : pos + size] = bytes(byte if byte < 128 else ord("?") for byte in name)
        pos += size
        size, pos = decode_varint(record, pos)
        pos += max(size, 0)
