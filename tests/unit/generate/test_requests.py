"""Cover requests as records <-> jobs."""

import json
import random
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.types import Cover, Job
from eyecatch.generate.requests import Reason, covers_record, decode, to_record
from eyecatch.kafka.producer import PROTOBUF
from eyecatch.kafka.records import Headers, Poison
from eyecatch.v1 import generation_pb2
from google.protobuf.json_format import MessageToJson

from tests.contracts.builders import unit

PLACE = "covers.requested@id/0/1/7"


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    topic: str = "covers.requested"
    partition: int = 1
    offset: int = 7
    timestamp: int = 1_700_000_000_500


def read(**fields: Any) -> Job | Poison:
    message = generation_pb2.CoverRequest(**{"item_id": "a", **fields})
    return decode(Record(message.item_id.encode(), message.SerializeToString()), PLACE)


def test_a_job_comes_back_as_it_was() -> None:
    taste = tuple(unit(3).tolist())
    job = Job("id", "thin/a/x/3", "a", taste, 3, 4, 7, Drawing(8, 0.5, 0.25), 1_700_000_000.5)
    sent = to_record(job, "covers.requested")
    assert (sent.topic, sent.key) == ("covers.requested", b"a")
    assert decode(Record(sent.key, sent.value, sent.headers), PLACE) == job
    as_json = MessageToJson(generation_pb2.CoverRequest.FromString(sent.value or b"")).encode()
    assert decode(Record(b"a", as_json), PLACE) == job
    around = replace(job, drawing=Drawing(8, 0.5, inpaint=True, product_id="blue-mug"))
    sent = to_record(around, "covers.requested")
    assert decode(Record(sent.key, sent.value, sent.headers), PLACE) == around
    plain = Job("id", "id", "a", seed=9, created_at=1_700_000_000.5)
    sent = to_record(plain, "covers.requested")
    assert decode(Record(sent.key, sent.value, sent.headers), PLACE) == plain


def test_a_record_of_the_version_before_is_read() -> None:
    sent = (
        b"\n\x01a\x12\x0bcall/spring\x1a 0123456789abcdef0123456789abcdef \x04(\x038\x07@\x08M\x00\x00\x00?U\x00\x00\x80>"
        b"Z\x14dXNlcl90YWdfb2ZfbWlhj\x08blue-mugr\x04high"
    )
    id, drawing = "0123456789abcdef0123456789abcdef", Drawing(8, 0.5, 0.25, False, "blue-mug", "high")
    whole = Job(id, "call/spring", "a", (), 3, 4, 7, drawing, 1_700_000_000.5, made_for="dXNlcl90YWdfb2ZfbWlh")
    assert decode(Record(b"a", sent, (PROTOBUF,)), PLACE) == whole
    plain = b"\n\x01b\x12\x02j2\x1a\x02j2 \x018\tM\x00\x00\x80?"
    assert decode(Record(b"b", plain), PLACE) == Job("j2", "j2", "b", seed=9, created_at=1_700_000_000.5)


def test_a_job_for_one_user_travels_without_what_they_like() -> None:
    job = Job("id", "k", "a", tuple(unit(3).tolist()), 3, made_for="tag")
    sent = to_record(job, "covers.requested")
    result = decode(Record(sent.key, sent.value, sent.headers), PLACE)
    assert isinstance(result, Job)
    assert (result.user_embedding, result.made_for, result.taste) == ((), "tag", 3)


def test_what_others_leave_out_follows_from_where_the_record_stands() -> None:
    one, again = read(), read()
    assert isinstance(one, Job)
    assert one == again
    assert (one.count, one.drawing, one.taste, one.user_embedding) == (1, Drawing(), -1, ())
    assert one.key == f"topic/{one.id}"
    request = decode(Record(b"a", b'{"itemId": "a", "inpaint": true}'), PLACE)
    assert isinstance(request, Job)
    assert request.drawing == Drawing(inpaint=True)
    other = decode(Record(b"a", b'{"itemId": "a"}'), "covers.requested@id/0/1/8")
    assert isinstance(other, Job)
    assert (other.id != one.id, other.seed != one.seed) == (True, True)
    keyed = read(idempotency_key="call/k")
    assert isinstance(keyed, Job)
    assert keyed.key == "topic/call/k", "the keys of callers are theirs"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"item_id": "", "count": 1}, "item_id"),
        ({"job_id": "a\nb", "idempotency_key": "k"}, "job_id"),
        ({"job_id": "j"}, "idempotency_key"),
        ({"idempotency_key": "k" * 600}, "idempotency_key"),
        ({"made_for": "a\x00"}, "made_for"),
        ({"count": 17}, "count"),
        ({"count": -1}, "count"),
        ({"taste": -1}, "taste"),
        ({"taste_embedding": [1.0] * 63}, "taste_embedding"),
        ({"taste_embedding": [float("nan")] * 64}, "taste_embedding"),
        ({"seed": 2**63}, "seed"),
        ({"steps": 0}, "steps"),
        ({"strength": 1.5}, "strength"),
        ({"reference_strength": float("inf")}, "reference_strength"),
        ({"reference_strength": 0.5, "inpaint": True}, "reference_strength"),
        ({"product_id": "../x"}, "product_id"),
        ({"reference_strength": 0.0, "inpaint": True}, "reference_strength"),
    ],
)
def test_each_field_has_its_limits(fields: dict[str, Any], named: str) -> None:
    result = read(**fields)
    assert isinstance(result, Poison)
    assert result.reason is Reason.BAD_FIELD
    assert f"request.{named}: got" in result.detail


def test_records_that_are_no_requests() -> None:
    good = generation_pb2.CoverRequest(item_id="a").SerializeToString()
    for record, reason in [
        (Record(b"a", None), "empty"),
        (Record(b"a", b"x" * 20_000), "too-large"),
        (Record(b"a", b"\xff\xff"), "not-protobuf"),
        (Record(b"a", b"{"), "not-json"),
        (Record(b"a", b"[1]", (("content-type", b"application/json"),)), "not-a-request"),
        (Record(b"a", json.dumps({"itemId": 3}).encode()), "not-a-request"),
        (Record(None, good), "key-mismatch"),
        (Record(b"b", good), "key-mismatch"),
    ]:
        result = decode(record, PLACE)
        assert isinstance(result, Poison), record
        assert result.reason == reason
        assert "allowed: " in result.detail or reason in ("not-json", "not-a-request")


def test_any_bytes_are_a_job_or_a_reason() -> None:
    rng = random.Random(3)
    good = [
        to_record(Job("id", "k", "a", tuple(unit(3).tolist()), 3), "t").value or b"",
        b'{"itemId": "a", "count": 2, "tasteEmbedding": [0.5], "seed": "7"}',
    ]
    kinds = set()
    for n in range(3000):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randrange(6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        result = decode(Record(b"a", bytes(data[: rng.randrange(len(data) + 1)] if n % 3 else data)), PLACE)
        kinds.add(type(result) if isinstance(result, Job) else result.reason)
    assert len(kinds) >= 5


def test_what_is_told_of_covers() -> None:
    job = Job("id", "k", "a", taste=3)
    covers = [Cover(id, "a", "blob:x", unit(1)) for id in ("c1", "c2")]
    sent = covers_record(job, covers, "covers.generated", 1e9)
    message = generation_pb2.CoversGenerated.FromString(sent.value or b"")
    assert (sent.topic, sent.key, message.job_id, message.item_id) == ("covers.generated", b"a", "id", "a")
    assert ([*message.cover_ids], message.taste, message.time.seconds) == (["c1", "c2"], 3, 10**9)
