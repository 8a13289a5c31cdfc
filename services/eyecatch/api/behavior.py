"""The Behavior service: events in, profiles shown and forgotten. User ids never reach the log."""

from typing import Any

from eyecatch.api import wire
from eyecatch.api.status import unary
from eyecatch.core import limits
from eyecatch.core.errors import InvalidInput, NotFound
from eyecatch.core.ports import Encoder, ProfileStore
from eyecatch.core.types import Event
from eyecatch.v1 import behavior_pb2, behavior_pb2_grpc


class BehaviorServicer(behavior_pb2_grpc.BehaviorServiceServicer):
    def __init__(self, profiles: ProfileStore, encode: Encoder) -> None:
        self._profiles, self._encode = profiles, encode

    @unary
    async def RecordEvents(
        self, request: behavior_pb2.RecordEventsRequest, context: Any
    ) -> behavior_pb2.RecordEventsResponse:
        check = limits.Check()
        check.count("events", len(request.events), 1, limits.MAX_BATCH)
        check.done()
        events: list[Event] = []
        for n, sent in enumerate(request.events):
            try:
                event = wire.event_from_wire(sent, f"events[{n}]")
            except InvalidInput as error:
                check.violations += error.violations
                continue
            check.event(f"events[{n}]", event)
            events.append(event)
        check.done()
        accepted = await self._profiles.absorb(events, self._encode)
        return behavior_pb2.RecordEventsResponse(accepted=accepted, ignored=len(events) - accepted)

    @unary
    async def GetProfile(
        self, request: behavior_pb2.GetProfileRequest, context: Any
    ) -> behavior_pb2.GetProfileResponse:
        profile = await self._profiles.profile(_user(request.user_id))
        if profile is None:
            raise NotFound("user", request.user_id)
        return behavior_pb2.GetProfileResponse(profile=wire.profile_to_wire(profile))

    @unary
    async def ForgetUser(
        self, request: behavior_pb2.ForgetUserRequest, context: Any
    ) -> behavior_pb2.ForgetUserResponse:
        return behavior_pb2.ForgetUserResponse(existed=await self._profiles.forget(_user(request.user_id)))


def _user(user_id: str) -> str:
    check = limits.Check()
    check.id("user_id", user_id)
    check.done()
    return user_id
