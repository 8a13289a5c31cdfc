"""Tombstones of forgotten users. Stores digests of user ids, not user ids."""

import hashlib
import sqlite3


def user_digest(user_id: str) -> bytes:
    """The content of a tombstone: it identifies the user without the user id."""
    return hashlib.sha256(user_id.encode()).digest()


def forgotten(connection: sqlite3.Connection, user_ids: set[str]) -> set[str]:
    """The users that have a tombstone."""
    if not connection.execute("SELECT EXISTS (SELECT 1 FROM tombstones)").fetchone()[0]:
        return set()
    sql = "SELECT 1 FROM tombstones WHERE user_digest = ?"
    return {id for id in user_ids if connection.execute(sql, (user_digest(id),)).fetchone()}
