"""Common names of columns, compared without case, spaces and marks: those of recommenders, of merchants' feeds and of public data sets.

The first name that a table has is taken, so the order matters. Knows no table.
"""

from __future__ import annotations

import re

ITEM = (
    "item_id",
    "id",
    "movie_id",
    "product_id",
    "sku",
    "parent_asin",
    "asin",
    "news_id",
    "video_id",
    "seller_sku",
    "handle",
    "item",
)
TITLE = ("title", "name", "item_title", "product_title", "product_name", "item_name")
CATEGORY = (
    *("category", "categories", "genres", "genre", "product_type", "google_product_category", "product_category"),
    *("main_category", "item_category", "tag"),
)
PICTURES = (
    *(
        "image",
        "picture",
        "cover",
        "poster",
        "image_path",
        "image_link",
        "main_image_url",
        "image_url",
        "image_src",
        "images",
    ),
    *("additional_image_link", "additional_image_links", "alternate_cover", "alternate_image"),
    *(f"image_{n}" for n in range(2, 9)),
)
COVER, COVER_ITEM = ("cover_id", "id"), ("item_id", "item", "product_id", "movie_id", "sku")
COVER_PICTURE = ("image", "cover", "picture", "path", "image_path")
USER = ("user_id", "user", "customer_id", "reviewer_id")
EVENT_ITEM = (*("item_id", "item", "movie_id", "product_id", "sku", "parent_asin", "asin", "news_id", "video_id"),)
TIME = ("timestamp", "time", "event_time", "ts", "created_at", "unix_review_time")
ACTION = ("action", "event_type", "event")
RATING = ("rating", "score", "stars", "overall")
EVENT, EVENT_COVER, DECISION, DWELL = ("event_id",), ("cover_id", "cover"), ("decision_id",), ("dwell_ms",)
POSITION = ("position", "rank")


def plain(name: str) -> str:
    """A name without case, spaces and marks: "Image Link", "image_link" and "imageLink" are one."""
    return re.sub(r"[^\w]|_", "", name.casefold())


COMMON = frozenset(
    plain(name)
    for names in (ITEM, TITLE, CATEGORY, PICTURES, COVER, COVER_ITEM, USER, EVENT_ITEM, TIME, ACTION, RATING)
    for name in names
)
