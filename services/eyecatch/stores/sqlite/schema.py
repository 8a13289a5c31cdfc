"""The tables, as a list of forward migrations; PRAGMA user_version of the file is the number of applied ones.

A released migration never changes: a change is a new entry at the end.
"""

import sqlite3

from eyecatch.core.errors import StoreError, StoreTooNew
from eyecatch.core.types import Profile
from eyecatch.stores import profile_codec as codec
from eyecatch.stores.embedding_codec import unpack
from eyecatch.stores.sqlite.tombstones import keyed_digest

_V1 = """
CREATE TABLE items (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, category TEXT NOT NULL, pictures TEXT NOT NULL, updated_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX items_by_category ON items (category, id);

CREATE TABLE covers (
    id TEXT PRIMARY KEY, item_id TEXT NOT NULL REFERENCES items (id) ON DELETE CASCADE, uri TEXT NOT NULL,
    embedding BLOB NOT NULL, rewards TEXT NOT NULL, origin INTEGER NOT NULL, provenance TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, taste INTEGER NOT NULL, created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX covers_by_item ON covers (item_id, created_at, id);

CREATE TABLE profiles (
    user_id TEXT PRIMARY KEY, embedding BLOB NOT NULL, event_count INTEGER NOT NULL, updated_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE tombstones (user_digest BLOB PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL, item_id TEXT NOT NULL,
    action INTEGER NOT NULL, time REAL NOT NULL, cover_id TEXT NOT NULL, decision_id TEXT NOT NULL,
    dwell_ms INTEGER NOT NULL
);
CREATE INDEX events_by_user ON events (user_id, time);

CREATE TABLE decisions (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, time REAL NOT NULL, item_ids TEXT NOT NULL, cover_ids TEXT NOT NULL,
    propensities BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL, state INTEGER NOT NULL,
    job TEXT NOT NULL, attempts INTEGER NOT NULL, cover_ids TEXT NOT NULL, error TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, seq);
CREATE INDEX jobs_by_key ON jobs (key, seq);
"""

# Pictures of items get their own table, so that unused blobs can be found by URI.
_V2 = """
CREATE TABLE pictures (
    item_id TEXT NOT NULL REFERENCES items (id) ON DELETE CASCADE, place INTEGER NOT NULL, uri TEXT NOT NULL,
    PRIMARY KEY (item_id, place)
) WITHOUT ROWID;
INSERT INTO pictures SELECT items.id, entry.key, entry.value FROM items, json_each(items.pictures) AS entry;
ALTER TABLE items DROP COLUMN pictures;
CREATE INDEX pictures_by_uri ON pictures (uri);
CREATE INDEX covers_by_uri ON covers (uri);
"""

# A row for each decision cost more than the decision itself; now a batch is one row of lines (decisions.py).
_V3 = """
CREATE TABLE decision_segments (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, first_id TEXT NOT NULL, last_id TEXT NOT NULL, lines TEXT NOT NULL
);
CREATE INDEX decision_segments_by_id ON decision_segments (first_id, last_id);
INSERT INTO decision_segments (first_id, last_id, lines) SELECT id, id,
    id || char(9) || user_id || char(9) || time || char(9) || replace(item_ids, char(10), char(31)) || char(9)
    || replace(cover_ids, char(10), char(31)) || char(9) || hex(propensities)
    FROM decisions ORDER BY id;
DROP TABLE decisions;
"""

# A profile is one value with the same bytes in every store (profile_codec.py). Event ids are unique for each user,
# so that ids of one user cannot suppress events of another. Events with too little weight are marked as suspect.
_V4 = """
CREATE TABLE profiles_4 (user_id TEXT PRIMARY KEY, profile BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO profiles_4 SELECT user_id, profile_bytes(embedding, event_count, updated_at) FROM profiles;
DROP TABLE profiles;
ALTER TABLE profiles_4 RENAME TO profiles;

CREATE TABLE events_4 (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, user_id TEXT NOT NULL, item_id TEXT NOT NULL,
    action INTEGER NOT NULL, time REAL NOT NULL, cover_id TEXT NOT NULL, decision_id TEXT NOT NULL,
    dwell_ms INTEGER NOT NULL, suspect INTEGER NOT NULL DEFAULT 0, UNIQUE (user_id, event_id)
);
INSERT INTO events_4 SELECT *, 0 FROM events;
DELETE FROM sqlite_sequence WHERE name = 'events_4';
INSERT INTO sqlite_sequence SELECT 'events_4', seq FROM sqlite_sequence WHERE name = 'events';
DROP TABLE events;
ALTER TABLE events_4 RENAME TO events;
CREATE INDEX events_by_user ON events (user_id, time);
"""

_V5 = "CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"

# Covers for a single user are deleted when the user is forgotten.
_V6 = """
CREATE INDEX covers_by_user ON covers (json_extract(provenance, '$.made_for'))
    WHERE json_extract(provenance, '$.made_for') IS NOT NULL;
"""

# The spent budget; the item "" counts all items.
_V7 = """
CREATE TABLE spent (
    hour INTEGER NOT NULL, item_id TEXT NOT NULL, covers INTEGER NOT NULL, PRIMARY KEY (hour, item_id)
) WITHOUT ROWID;
"""

# The kind of a job's error and its details, as JSON; empty for older jobs.
_V8 = "ALTER TABLE jobs ADD COLUMN failure TEXT NOT NULL DEFAULT '';"

# The standing of a cover as JSON, empty until something was decided; its trust beside it, to list those that wait.
_V9 = """
ALTER TABLE covers ADD COLUMN trust INTEGER NOT NULL DEFAULT 3;
ALTER TABLE covers ADD COLUMN standing TEXT NOT NULL DEFAULT '';
UPDATE covers SET trust = 1 WHERE origin = 2;
CREATE INDEX covers_by_trust ON covers (trust, id) WHERE trust < 3;
CREATE TABLE audit (seq INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL);
"""

# Users' own vectors and their priors (vector_codec.py), and covers' own vectors, which stay when a cover is replaced.
_V10 = """
CREATE TABLE vectors (user_id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE cover_vectors (cover_id TEXT PRIMARY KEY, data BLOB NOT NULL);
"""

# Users of an item that gets pictures are encoded again. Impressions, most of all events, do not pay for it.
_V11 = """
CREATE INDEX engagements_by_item ON events (item_id, user_id) WHERE action <> 1 AND NOT suspect;
"""

# Tombstones get a key.
_V12 = """
INSERT OR IGNORE INTO notes VALUES ('tombstone-key', randomblob(32));
UPDATE tombstones SET user_digest = keyed_digest((SELECT value FROM notes WHERE name = 'tombstone-key'), user_digest);
"""

MIGRATIONS = (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Migrate the file to the newest version, each step in a transaction. Raises StoreTooNew, and StoreError where a step does not fit."""
    current = _known_version(connection, migrations)
    connection.create_function("profile_bytes", 3, _profile_bytes, deterministic=True)
    connection.create_function("keyed_digest", 2, keyed_digest, deterministic=True)
    for number in range(current, len(migrations)):
        try:
            # executescript commits first, then runs the BEGIN and COMMIT of the script.
            connection.executescript(
                f"BEGIN IMMEDIATE; {migrations[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            )
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if error.sqlite_errorname == "SQLITE_ERROR":  # a statement that does not fit, not a full disk or a lock
                raise StoreError(
                    f"its version is {current}, but its tables are not those of that version ({error}); restore a backup"
                ) from error
            raise


def check_newest(connection: sqlite3.Connection) -> None:
    """Raises StoreTooNew, and StoreError for a file that `migrate` would change."""
    if (current := _known_version(connection, MIGRATIONS)) < len(MIGRATIONS):
        raise StoreError(
            f"the store has version {current}, this program reads version {len(MIGRATIONS)}; "
            "start `eyecatch serve` once, which migrates it"
        )


def _known_version(connection: sqlite3.Connection, migrations: tuple[str, ...]) -> int:
    current = version(connection)
    if current > len(migrations):
        raise StoreTooNew(
            f"the store has version {current}, this program knows versions up to {len(migrations)}; "
            "run the newer eyecatch, or use another data folder"
        )
    return current


def _profile_bytes(embedding: bytes, event_count: int, updated_at: float) -> bytes:
    return codec.encode(Profile("", unpack(embedding), event_count, updated_at))
