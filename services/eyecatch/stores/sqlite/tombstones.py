"""Tombstones of forgotten users. They are digests of user ids under a key of the store's own: without it nobody can try ids on them."""

import hashlib
import hmac
import sqlite3

KEY_NOTE = "tombstone-key"


def keyed_digest(key: bytes, digest: bytes) -> bytes:
    """`digest`: SHA-256 of the user id, which was the whole tombstone before there was a key; so the migration needs no user id."""
    return hmac.digest(key, digest, "sha256")


def user_digests(connection: sqlite3.Connection, user_ids: set[str]) -> dict[bytes, str]:
    """The content of each user's tombstone -> the user."""
    key = connection.execute("SELECT value FROM notes WHERE name = ?", (KEY_NOTE,)).fetchone()[0]
    return {keyed_digest(key, hashlib.sha256(id.encode()).digest()): id for id in user_ids}


def bury(connection: sqlite3.Connection, user_id: str) -> None:
    """Write the user's tombstone."""
    for digest in user_digests(connection, {user_id}):
        connection.execute("INSERT OR IGNORE INTO tombstones VALUES (?)", (digest,))


def forgotten(connection: sqlite3.Connection, user_ids: set[str]) -> set[str]:
    """The users that have a tombstone."""
    if not connection.execute("SELECT EXISTS (SELECT 1 FROM tombstones)").fetchone()[0]:
        return set()
    sql = "SELECT 1 FROM tombstones WHERE user_digest = ?"
    digests = user_digests(connection, user_ids)
    return {user_id for digest, user_id in digests.items() if connection.execute(sql, (digest,)).fetchone()}
