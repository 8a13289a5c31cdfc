"""The Behavior service: records events, returns and forgets profiles. User ids never reach the log."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from eyecatch.api import wire
from eyecatch.api.status import unary
from eyecatch.core import limits
from eyecatch.core.behaviour.forget import Forgetting
from eyecatch.core.behaviour.shown import ShownCovers
from eyecatch.core.behaviour.vectors import VectorIntake
from eyecatch.core.errors import InvalidInput, NotFound, Unavailable
from eyecatch.core.ports import Clock, Encoder, EventSink, ProfileStore
from eyecatch.core.tastes.clusters import Tastes
from eyecatch.core.types import Event
from eyecatch.messages import event_from_wire, vector_from_wire
from eyecatch.v1 import behavior_pb2, behavior_pb2_grpc


class BehaviorServicer(behavior_pb2_grpc.BehaviorServiceServicer):
    def __init__(
        self,
        profiles: ProfileStore,
        sink: EventSink,
        encoder: Encoder,
        tastes: Tastes,
        forgetting: Forgetting,
        vectors: VectorIntake,
        covers: ShownCovers,
        clock: Clock,
    ) -> None:
        self._profiles, self._sink, self._encoder, self._tastes = profiles, sink, encoder, tastes
        self._forgetting, self._vectors, self._covers = forgetting, vectors, covers
        self._clock = clock

    @unary
    async def RecordEvents(
        self, request: behavior_pb2.RecordEventsRequest, context: Any
    ) -> behavior_pb2.RecordEventsResponse:
        check = limits.Check()
        check.count("events", len(request.events), 1, limits.MAX_BATCH)
        check.done()
        events: list[Event] = []
        now = self._clock()
        for n, message in enumerate(request.events):
            try:
                event = event_from_wire(message, f"events[{n}]")
            except InvalidInput as error:
                check.violations += error.violations
                continue
            check.event(f"events[{n}]", event, now)
            events.append(event)
        check.done()
        # A sink may take events while the store does not answer; then ingest finds the covers of other items.
        with suppress(Unavailable):
            for n, why in (await self._covers.of_other_items(events)).items():
                check.violations.append(replace(why, field=f"events[{n}].{why.field}"))
        check.done()
        accepted = await self._sink.record(events)
        return behavior_pb2.RecordEventsResponse(accepted=accepted, ignored=len(events) - accepted)

    @unary
    async def UpsertUserEmbeddings(
        self, request: behavior_pb2.UpsertUserEmbeddingsRequest, context: Any
    ) -> behavior_pb2.UpsertUserEmbeddingsResponse:
        check = limits.Check()
        check.count("embeddings", len(request.embeddings), 1, limits.MAX_BATCH)
        check.done()
        vectors = [vector_from_wire(message) for message in request.embeddings]
        width = await self._vectors.width(vectors)
        earlier: set[str] = set()
        for n, vector in enumerate(vectors):
            check.id(f"embeddings[{n}].user_id", vector.user_id)
            check.vector(f"embeddings[{n}].values", vector.values, width)
            if vector.user_id in earlier:
                check.refuse(f"embeddings[{n}].user_id", "an id that came before", "each user once")
            earlier.add(vector.user_id)
        check.done()
        stored = await self._vectors.put(vectors)
        return behavior_pb2.UpsertUserEmbeddingsResponse(stored=stored, ignored=len(vectors) - stored)

    @unary
    async def GetProfile(
        self, request: behavior_pb2.GetProfileRequest, context: Any
    ) -> behavior_pb2.GetProfileResponse:
        limits.check_id("user_id", request.user_id)
        profile = await self._profiles.profile(request.user_id)
        if profile is None:
            raise NotFound("user", request.user_id)
        user = await self._profiles.embedding(request.user_id, self._encoder)
        taste = self._tastes.current.of(user) if user is not None else -1
        return behavior_pb2.GetProfileResponse(profile=wire.profile_to_wire(profile, taste))

    @unary
    async def ForgetUser(
        self, request: behavior_pb2.ForgetUserRequest, context: Any
    ) -> behavior_pb2.ForgetUserResponse:
        limits.check_id("user_id", request.user_id)
        return behavior_pb2.ForgetUserResponse(existed=await self._forgetting.forget(request.user_id))
