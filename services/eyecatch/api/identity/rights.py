"""The right that each rpc needs: exactly one. Health needs none, and reflection only that the caller is known."""

from collections.abc import Mapping
from enum import StrEnum


class Right(StrEnum):
    RECOMMEND = "recommend"
    """Read items and covers, and choose covers for a user."""
    GENERATE = "generate"
    """Have covers drawn, which costs a GPU's time."""
    WRITE = "write"
    """Store items, events and users' vectors."""
    REVIEW = "review"
    """Decide, as an editor, which covers users see."""
    ADMIN = "admin"
    """Delete, and read what is stored of one user. Every such call is audited."""


ALL = frozenset(Right)

RIGHTS: Mapping[str, Right] = {
    "eyecatch.v1.CoversService/RecommendCovers": Right.RECOMMEND,
    "eyecatch.v1.CoversService/RankCovers": Right.RECOMMEND,
    "eyecatch.v1.CoversService/GenerateCovers": Right.GENERATE,
    "eyecatch.v1.CoversService/GetCover": Right.RECOMMEND,
    "eyecatch.v1.CoversService/GetCovers": Right.RECOMMEND,
    "eyecatch.v1.CoversService/ListCovers": Right.RECOMMEND,
    "eyecatch.v1.CatalogService/UpsertItems": Right.WRITE,
    "eyecatch.v1.CatalogService/GetItem": Right.RECOMMEND,
    "eyecatch.v1.CatalogService/ListItems": Right.RECOMMEND,
    "eyecatch.v1.CatalogService/DeleteItem": Right.ADMIN,
    "eyecatch.v1.BehaviorService/RecordEvents": Right.WRITE,
    "eyecatch.v1.BehaviorService/UpsertUserEmbeddings": Right.WRITE,
    "eyecatch.v1.BehaviorService/GetProfile": Right.ADMIN,
    "eyecatch.v1.BehaviorService/ForgetUser": Right.ADMIN,
    "eyecatch.v1.ReviewService/ListWaitingCovers": Right.REVIEW,
    "eyecatch.v1.ReviewService/ApproveCover": Right.REVIEW,
    "eyecatch.v1.ReviewService/RetireCover": Right.REVIEW,
    "eyecatch.v1.ReviewService/DeleteCover": Right.ADMIN,
    "eyecatch.v1.ReviewService/PinCover": Right.REVIEW,
    "eyecatch.v1.ReviewService/RestoreOriginals": Right.REVIEW,
    "eyecatch.v1.ReviewService/ListAuditEntries": Right.REVIEW,
}
"""By "package.Service/Method"."""
