"""The demo's choice of the sample: users and items that exist, tastes that have words, covers that were liked."""

from eyecatch.commands.demo import ITEMS, LABELS, LIKED, USERS, in_words, liked_covers, sample_table

TASTES = {row["user_id"]: row for row in sample_table("users")}


def test_users_and_items_are_in_the_sample() -> None:
    assert set(USERS) <= set(TASTES)
    assert set(ITEMS) <= {row["item_id"] for row in sample_table("items")}


def test_no_two_users_of_the_demo_share_style_or_palette() -> None:
    for label in ("style", "palette"):
        assert len({TASTES[user][label] for user in USERS}) == len(USERS)


def test_every_simulated_taste_has_words() -> None:
    assert all(taste["palette"] in in_words(taste) for taste in TASTES.values())


def test_liked_covers_were_liked_by_this_user_and_show_the_taste() -> None:
    likes = {(r["user_id"], r["cover_id"]) for r in sample_table("events") if r["action"] == "like"}
    labels = {c["cover_id"]: c for c in sample_table("covers")}
    for user in USERS:
        covers = liked_covers(TASTES[user])
        assert len(covers) == LIKED
        for cover in covers:
            assert (user, cover) in likes
            assert labels[cover]["item_id"] not in ITEMS
            assert any(labels[cover][label] == TASTES[user][label] for label in LABELS)
