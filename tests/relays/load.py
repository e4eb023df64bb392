"""Loads events, one JSON object a line of stdin, into the database of nostr-relay from PyPI.

Usage: load.py nostr.sqlite3 < events.ndjson
The relay may run. Its own `load` verifies each event in Python and takes minutes for 100,000.
"""

import json
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1], timeout=60)
events, tags = [], []
for line in sys.stdin:
    event = json.loads(line)
    key = bytes.fromhex(event["id"])
    events.append(
        (
            key,
            event["created_at"],
            event["kind"],
            bytes.fromhex(event["pubkey"]),
            json.dumps(event["tags"], ensure_ascii=False, separators=(",", ":")),
            bytes.fromhex(event["sig"]),
            event["content"],
        )
    )
    tags.extend((key, tag[0], tag[1]) for tag in event["tags"] if len(tag) > 1 and len(tag[0]) == 1)
with database:
    database.executemany("INSERT INTO events (id, created_at, kind, pubkey, tags, sig, content) VALUES (?, ?, ?, ?, ?, ?, ?)", events)
    database.executemany("INSERT OR IGNORE INTO tags (id, name, value) VALUES (?, ?, ?)", tags)
print(len(events))
