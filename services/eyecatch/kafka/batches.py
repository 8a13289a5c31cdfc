"""Batches of records (format 2 of the Kafka protocol) as kafka-python reads them, the usual ones in half the time.

Headers, a null for key or value, or a number of three bytes are unusual: kafka-python's own reader takes such a record. A header's name
that is not UTF-8 does not stop it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch

from eyecatch.kafka.headers import spell_out


class _Record(NamedTuple):
    """What kafka-python asks of a record."""

    size_in_bytes: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes | None]]
    checksum: None = None

    def validate_crc(self) -> bool:
        """The batch has a checksum; its records have none."""
        return True


class _Batch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    _pos: int

    def __iter__(self) -> Any:
        super().__iter__()
        return self if self.is_control_batch else self._each()

    def _each(self) -> Iterator[Any]:
        buffer, first, zero = bytes(self._buffer), self.base_offset, self.first_timestamp
        kind = self.timestamp_type
        fixed = self.max_timestamp if kind == self.LOG_APPEND_TIME else None
        for _ in range(self._next_record_index, self._num_records):
            pos = self._pos
            try:
                # A number goes on behind a byte above 127: one or two bytes here, `more` tells of a third. The lowest bit is its sign.
                more = 0
                size = buffer[pos]
                pos += 1
                if size > 127:
                    more |= buffer[pos]
                    size += (buffer[pos] << 7) - 128
                    pos += 1
                end = pos + (size >> 1)
                more |= buffer[pos]  # attributes, which mean nothing yet
                pos += 1
                moment = buffer[pos]
                pos += 1
                if moment > 127:
                    more |= buffer[pos]
                    moment += (buffer[pos] << 7) - 128
                    pos += 1
                delta = buffer[pos]
                pos += 1
                if delta > 127:
                    more |= buffer[pos]
                    delta += (buffer[pos] << 7) - 128
                    pos += 1
                of_key = buffer[pos]
                pos += 1
                if of_key > 127:
                    more |= buffer[pos]
                    of_key += (buffer[pos] << 7) - 128
                    pos += 1
                key = buffer[pos : pos + (of_key >> 1)]
                pos += of_key >> 1
                of_value = buffer[pos]
                pos += 1
                if of_value > 127:
                    more |= buffer[pos]
                    of_value += (buffer[pos] << 7) - 128
                    pos += 1
                value = buffer[pos : pos + (of_value >> 1)]
                pos += of_value >> 1
                usual = more < 128 and not (size | delta | of_key | of_value) & 1 and not buffer[pos] and pos + 1 == end
            except IndexError:
                usual = False
            if not usual:
                yield super().__next__()
                continue
            self._pos = end
            self._next_record_index += 1
            time = zero + ((moment >> 1) ^ -(moment & 1)) if fixed is None else fixed
            yield _made(_Record, (size >> 1, first + (delta >> 1), time, kind, key, value, [], None))
        if self._pos != len(buffer):
            super().__next__()  # says so

    def _read_msg(self) -> Any:
        start = self._pos
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            spell_out(self._buffer, start)
            return super()._read_msg()


_made = tuple.__new__  # at most half of what a named tuple's own takes


def install() -> None:
    """From now on every consumer of this process reads so."""
    memory_records.DefaultRecordBatch = _Batch
