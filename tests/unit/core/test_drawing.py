"""The knobs of a drawing: what is allowed, and the way through JSON, messages and tensors."""

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from eyecatch.core.drawing import Drawing
from eyecatch.core.errors import InvalidInput
from eyecatch.core.generator import Brief
from eyecatch.core.limits import Check
from eyecatch.core.types import Job
from eyecatch.generators.triton_wire import brief_inputs
from eyecatch.messages import drawing_from_wire, drawing_to_wire
from eyecatch.stores import json_codec
from eyecatch.v1 import covers_pb2, generation_pb2
from icg.draw import ask

EVERY: dict[str, Any] = {
    "steps": 8,
    "strength": 0.5,
    "reference_strength": 0.25,
    "inpaint": True,
    "product_id": "blue-mug",
    "target_kpi": "high",
    "guided": (0.125, 0.375),
    "guidance": 2.5,
    "audience": "coffee enthusiasts",
    "size": (64, 96),
    "negative": "blurry",
}
WIRE = (covers_pb2.GenerateCoversRequest, generation_pb2.CoverRequest)


def test_these_tests_know_every_knob() -> None:
    assert set(EVERY) == {f.name for f in fields(Drawing)}


@pytest.mark.parametrize("name", EVERY)
def test_a_knob_survives_the_queues_json(name: str) -> None:
    job = Job("j", "k", "a", drawing=Drawing(**{name: EVERY[name]}))
    text = json_codec.job_text(job)
    assert json_codec.job(text, 0) == job
    assert set(json.loads(text)) & set(EVERY) == {name}, "a knob at its default is not stored"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", WIRE)
def test_a_knob_survives_the_wire(name: str, kind: Any) -> None:
    drawing, message = Drawing(**{name: EVERY[name]}), kind(item_id="a")
    drawing_to_wire(drawing, message)
    on_wire = name in kind.DESCRIPTOR.fields_by_name
    assert drawing_from_wire(kind.FromString(message.SerializeToString())) == (drawing if on_wire else Drawing())


def test_callers_name_a_segment_and_workers_get_its_words_and_guided_is_the_operators() -> None:
    absent = {kind: set(EVERY) - set(kind.DESCRIPTOR.fields_by_name) for kind in WIRE}
    assert absent == {WIRE[0]: {"guided", "audience"}, WIRE[1]: {"guided"}}


def test_zero_and_absent_are_not_the_same_on_the_wire() -> None:
    message = generation_pb2.CoverRequest()
    drawing_to_wire(Drawing(strength=0.0, reference_strength=0.0), message)
    assert drawing_from_wire(message) == Drawing(strength=0.0, reference_strength=0.0)
    assert drawing_from_wire(generation_pb2.CoverRequest()) == Drawing()


def test_a_knob_becomes_the_tensor_of_its_name() -> None:
    sent = {i.name(): (i.datatype(), i.shape()) for i in brief_inputs(Brief("x", (), np.zeros(4), 1, Drawing(**EVERY)))}
    assert {name: sent[name] for name in EVERY} == {
        "steps": ("INT64", [1]),
        "strength": ("FP64", [1]),
        "reference_strength": ("FP64", [1]),
        "inpaint": ("BOOL", [1]),
        "product_id": ("UINT8", [8]),
        "target_kpi": ("UINT8", [4]),
        "guided": ("FP64", [2]),
        "guidance": ("FP64", [1]),
        "audience": ("UINT8", [18]),
        "size": ("INT64", [2]),
        "negative": ("UINT8", [6]),
    }
    assert {i.name() for i in brief_inputs(Brief("x", (), np.zeros(4), 1))} == {"title", "seed"}


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"target_kpi", "inpaint", "reference_strength"}))
def test_a_knob_is_the_librarys_under_the_same_name(name: str) -> None:
    assert getattr(ask.brief("x", **Drawing(**{name: EVERY[name]}).set_knobs()), name) == EVERY[name]


def test_every_violation_is_reported_at_once_under_its_prefix() -> None:
    check = Check()
    check.drawing("request.", Drawing(0, 2.0, float("nan"), True, "../x", "viral", guidance=20.5, audience="x" * 201))
    with pytest.raises(InvalidInput) as refused:
        check.done()
    assert [v.field for v in refused.value.violations] == [
        "request.steps",
        "request.strength",
        "request.reference_strength",
        "request.guidance",
        "request.product_id",
        "request.target_kpi",
        "request.audience",
        "request.reference_strength",
    ]


def test_what_is_left_to_the_model_is_allowed() -> None:
    assert Drawing().violations() == []
    assert replace(Drawing(**EVERY), inpaint=False).violations() == []
