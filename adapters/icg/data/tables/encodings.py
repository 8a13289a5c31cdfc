"""Bytes of text -> their encoding. UTF-8 and marked UTF-16 or UTF-32 are certain; others are only taken if the bytes speak for them."""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from pathlib import Path

from icg.data.tables.files import LONGEST_LINE, Unpacked
from icg.errors import InputError

_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
_MARKS += ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAMPLE = 1 << 18
_EVIDENCE = 24
"""Fewer bytes beyond ASCII say nothing about an encoding other than the most common one."""
_WESTERN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýŒœŠšŽž'°®©™«»“”‘’–—…•€£¥§¿¡·´½¼¾²³ªº\xa0×"
)
_WITHIN_WORDS = frozenset("°®©™«»“”–—…•€£¥§¿¡½¼¾²³ªº×")
_OTHERS = ["cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "cp932", "gb18030", "big5", "cp949"]


@dataclass(frozen=True)
class Encoding:
    """`name`: of a Python codec. `how`: "" for UTF-8, else what speaks for it; shown to the user."""

    name: str
    how: str = ""

    @property
    def keeps_bytes(self) -> bool:
        """Whether bytes without a meaning can become surrogates. Codecs of several bytes a character replace them by U+FFFD."""
        try:
            return self.name == "utf-8-sig" or len(bytes(range(256)).decode(self.name, "surrogateescape")) == 256
        except UnicodeDecodeError:
            return False


def by_name(name: str) -> Encoding:
    """The encoding that the caller names. Raises InputError for one that Python does not know as a text encoding."""
    try:
        if not codecs.lookup(name)._is_text_encoding:
            raise LookupError(name)
    except LookupError:
        raise InputError(
            "encoding", repr(name[:60]), "a text encoding, for example utf-8, cp1252, cp1251, shift_jis"
        ) from None
    return Encoding("utf-8-sig" if codecs.lookup(name).name == "utf-8" else name, "as requested")


def detect(path: Path) -> Encoding:
    """The encoding of the whole file. If its bytes are not UTF-8 and do not speak for another encoding, it is UTF-8 with damage."""
    with Unpacked(path) as source:
        file = io.BufferedReader(source, 1 << 20)
        head = file.peek(4)[:4]
        for mark, name in _MARKS:
            if head.startswith(mark):
                return Encoding(name, "its first bytes say so")
        if b"\0" in head:
            order = "le" if head[1:2] == b"\0" else "be"
            return Encoding(f"utf-{'32' if head.count(0) == 3 else '16'}-{order}", "every other byte is zero")
        sample, utf8 = bytearray(), int(head.startswith(codecs.BOM_UTF8))
        while line := file.readline(LONGEST_LINE):
            if line.isascii():
                continue
            try:
                line.decode()
                utf8 += 1
            except UnicodeDecodeError:
                if len(sample) < _SAMPLE:
                    sample += line[:4096]
    if not sample:
        return Encoding("utf-8-sig")
    name = "" if utf8 else _guess(bytes(sample))
    if name:
        return Encoding(name, "detected; --encoding names another")
    return Encoding("utf-8-sig", "with bytes that are not UTF-8; --encoding names another")


def _guess(sample: bytes) -> str:
    """An encoding of one or two bytes a character, "" if none is much likelier than the others."""
    if _is_western(sample):
        return "cp1252"
    if sum(byte > 127 for byte in sample) < _EVIDENCE:
        return ""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, cp_isolation=_OTHERS, enable_fallback=False))
    if not matches or (len(matches) > 1 and matches[0].coherence <= matches[1].coherence):
        return ""
    return str(matches[0].encoding)


def _is_western(sample: bytes) -> bool:
    """Whether these are words of Western Europe: letters with accents, alone or in pairs between others without."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    high = [n for n, letter in enumerate(text) if letter >= "\x80"]
    if not all(text[n] in _WESTERN for n in high):
        return False
    beside = {n for n in high if text[n - 1 : n] >= "\x80" or text[n + 1 : n + 2] >= "\x80"}
    strange = [
        n for n in high if text[n] in _WITHIN_WORDS and text[n - 1 : n].isalpha() and text[n + 1 : n + 2].isalpha()
    ]
    return len(beside) <= 0.2 * len(high) and len(strange) <= 0.02 * len(high)
