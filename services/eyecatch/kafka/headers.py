"""Names of headers that are not UTF-8. kafka-python takes the whole record for corrupt and would stop at its offset for ever."""

from kafka.record.util import decode_varint


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
