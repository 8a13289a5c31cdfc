"""All keys of the store. The part in braces decides the cluster's slot; keys that must change together share it.

Keys of users hold digests, so that a list of keys reveals no user id. Knows no command.
"""

from eyecatch.core.behaviour.tokens import user_tag

LAYOUT = "ec:layout"
LIFE = "ec:life"


def profile(user_id: str) -> str:
    return f"ec:p:{{{user_tag(user_id)}}}"


PROFILES = "ec:p:*"


def vector_of(profile_key: str) -> str:
    """The key of the own vector of the user with this profile, in the same slot."""
    return "ec:v:" + profile_key.removeprefix("ec:p:")


def profile_of(vector_key: str) -> str:
    return "ec:p:" + vector_key.removeprefix("ec:v:")


VECTORS = "ec:v:*"
ANY_VECTOR = "ec:any-vector"
"""Exists since the first vector."""


def decisions_of(user_id: str) -> str:
    return f"ec:ud:{{{user_tag(user_id)}}}"


def decision(id: str) -> str:
    return f"ec:d:{id}"


def name(reference: bytes) -> str:
    return f"ec:r:{reference.hex()}"


def note(name: str) -> str:
    return f"ec:note:{name}"


LOG = "ec:{log}:events"
LOG_SEQUENCE = "ec:{log}:seq"

CATALOG_GUARD = "ec:{catalog}:guard"
ITEMS = "ec:{catalog}:items"
ITEM_IDS = "ec:{catalog}:item-ids"
COVERS = "ec:{catalog}:covers"
COVER_IDS = "ec:{catalog}:cover-ids"
COVER_VECTORS = "ec:{catalog}:cover-vectors"
AUDIT = "ec:{catalog}:audit"


def waiting(trust: int) -> str:
    return f"ec:{{catalog}}:waiting:{trust}"


def category(name: str) -> str:
    return f"ec:{{catalog}}:in:{name}"


def pool(item_id: str) -> str:
    return f"ec:{{catalog}}:pool:{item_id}"


def users_of_blob(uri: str) -> str:
    return f"ec:{{catalog}}:uses:{uri}"


def covers_for(user: str) -> str:
    return f"ec:{{catalog}}:for:{user}"


QUEUE_GUARD = "ec:{jobs}:guard"
JOBS = "ec:{jobs}:jobs"
JOB_KEYS = "ec:{jobs}:keys"
JOB_SEQUENCE = "ec:{jobs}:seq"
QUEUED = "ec:{jobs}:queued"
RUNNING = "ec:{jobs}:running"
LATER = "ec:{jobs}:later"
OVER = "ec:{jobs}:over"
CHANGED = "ec:{jobs}:changed"
CHANGES = "ec:{jobs}:changes"


def spent(hour: int) -> str:
    return f"ec:{{jobs}}:spent:{hour}"


def news(job_id: str) -> str:
    return f"ec:{{jobs}}:news:{job_id}"


def jobs_for(user: str) -> str:
    return f"ec:{{jobs}}:for:{user}"
