"""Every key of the store. The part in braces decides the cluster's slot: what must change together shares it.

Keys of users hold digests: whoever lists keys learns no user id. Knows no command.
"""

import base64
import hashlib

LAYOUT = "ec:layout"


def user_tag(user_id: str) -> str:
    """Twenty characters that stand for a user; no two users in the world share them."""
    return base64.urlsafe_b64encode(hashlib.blake2b(user_id.encode(), digest_size=15).digest()).decode()


def profile(user_id: str) -> str:
    return f"ec:p:{{{user_tag(user_id)}}}"


PROFILES = "ec:p:*"


def decisions_of(user_id: str) -> str:
    return f"ec:ud:{{{user_tag(user_id)}}}"


def decision(id: str) -> str:
    return f"ec:d:{id}"


def name(reference: bytes) -> str:
    return f"ec:r:{reference.hex()}"


LOG = "ec:{log}:events"
LOG_SEQUENCE = "ec:{log}:seq"

CATALOG_GUARD = "ec:{catalog}:guard"
ITEMS = "ec:{catalog}:items"
ITEM_IDS = "ec:{catalog}:item-ids"
COVERS = "ec:{catalog}:covers"
COVER_IDS = "ec:{catalog}:cover-ids"


def category(name: str) -> str:
    return f"ec:{{catalog}}:in:{name}"


def pool(item_id: str) -> str:
    return f"ec:{{catalog}}:pool:{item_id}"


def users_of_blob(uri: str) -> str:
    return f"ec:{{catalog}}:uses:{uri}"


QUEUE_GUARD = "ec:{jobs}:guard"
JOBS = "ec:{jobs}:jobs"
JOB_KEYS = "ec:{jobs}:keys"
JOB_SEQUENCE = "ec:{jobs}:seq"
QUEUED = "ec:{jobs}:queued"
RUNNING = "ec:{jobs}:running"
OVER = "ec:{jobs}:over"
