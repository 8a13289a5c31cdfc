"""eyecatch events record, eyecatch users show | forget: clients of the Behavior service."""

import time
import uuid
from typing import Annotated

import typer

from eyecatch.commands.common import DEFAULT_SERVER, Json, Server, Token, as_json, client, fail, print_json, print_table

events = typer.Typer(help="Send behaviour to a running server.", no_args_is_help=True)
users = typer.Typer(help="See or forget a user on a running server.", no_args_is_help=True)

UserId = Annotated[str, typer.Argument(help="User id.")]
ACTIONS = ("impression", "click", "like", "dislike", "purchase", "dwell")


@events.command("record")
def record(
    user: UserId,
    item: Annotated[str, typer.Argument(help="Item id.")],
    action: Annotated[str, typer.Argument(help=", ".join(ACTIONS))],
    cover: Annotated[str, typer.Option(help="Cover id that was shown.")] = "",
    decision: Annotated[str, typer.Option(help="Decision id of the recommendation.")] = "",
    dwell_ms: Annotated[int, typer.Option(help="Milliseconds, for dwell.")] = 0,
    event_id: Annotated[str, typer.Option(help="Unique id; empty = a new one.")] = "",
    server: Server = DEFAULT_SERVER,
    api_token: Token = "",
    json: Json = False,
) -> None:
    """One event: USER did ACTION with ITEM, now."""
    from google.protobuf.timestamp_pb2 import Timestamp

    from eyecatch.v1 import behavior_pb2, types_pb2

    if action.lower() not in ACTIONS:
        fail(f"error: action {action!r}; allowed: {', '.join(ACTIONS)}")
    event = types_pb2.Event(
        id=event_id or uuid.uuid4().hex,
        user_id=user,
        item_id=item,
        cover_id=cover,
        action=types_pb2.Action.Value(f"ACTION_{action.upper()}"),
        time=Timestamp(seconds=int(time.time())),
        decision_id=decision,
        dwell_ms=dwell_ms,
    )
    with client(server, api_token) as c:
        answer = c.behavior.RecordEvents(behavior_pb2.RecordEventsRequest(events=[event]), timeout=10)
    if json:
        return print_json({"event_id": event.id, "accepted": answer.accepted, "ignored": answer.ignored})
    typer.echo(
        f"event {event.id}: " + ("recorded" if answer.accepted else "already known or user forgotten; nothing changed")
    )


@users.command("show")
def show(user: UserId, server: Server = DEFAULT_SERVER, api_token: Token = "", json: Json = False) -> None:
    """What is stored of a user."""
    from eyecatch.v1 import behavior_pb2, types_pb2

    with client(server, api_token) as c:
        profile = c.behavior.GetProfile(behavior_pb2.GetProfileRequest(user_id=user), timeout=10).profile
    if json:
        return print_json(as_json(profile))
    rows = [
        (e.time.ToJsonString(), types_pb2.Action.Name(e.action).removeprefix("ACTION_").lower(), e.item_id, e.cover_id)
        for e in profile.recent_events
    ]
    taste = profile.taste if profile.HasField("taste") else "unknown"
    print_table(
        f"{user}: {profile.event_count} events, taste cluster {taste}", ("time", "action", "item", "cover"), rows
    )


@users.command("forget")
def forget(user: UserId, server: Server = DEFAULT_SERVER, api_token: Token = "", json: Json = False) -> None:
    """Remove a user from every store; replays do not revive them."""
    from eyecatch.v1 import behavior_pb2

    with client(server, api_token) as c:
        answer = c.behavior.ForgetUser(behavior_pb2.ForgetUserRequest(user_id=user), timeout=10)
    if json:
        return print_json({"existed": answer.existed})
    typer.echo(
        "forgotten" if answer.existed else "nothing was stored; a later event of this user is ignored all the same"
    )
