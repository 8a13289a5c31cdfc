"""Header names that are not UTF-8. Without this kafka-python treats the record as corrupt and stops at its offset for ever."""

from kafka.record.util import decode_varint


def replace_bad_names(record: bytearray, start: int) -> None:
    """Replace header names that are not UTF-8 by ASCII of the same length, in place, in the record (format 2) at `start`."""
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
