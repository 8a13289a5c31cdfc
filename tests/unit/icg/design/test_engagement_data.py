"""Posts from tables: accepted and refused rows, buckets and splits."""

import io
from pathlib import Path

import numpy as np
import pytest
from icg.data.catalogue import RowReport
from icg.data.duplicates import campaign, leaking, perceptual_hash
from icg.data.engagement import FEW, Posts, buckets, from_catalogue, load, temporal
from icg.errors import IcgError
from PIL import Image, ImageEnhance

HEAD = "account,time,text,media,likes\n"


def table(folder: Path, rows: str, head: str = HEAD) -> Path:
    Image.new("RGB", (20, 20), "red").save(folder / "a.png")
    path = folder / "posts.csv"
    path.write_text(head + rows)
    return path


def posts(kpi: list[float], account: list[str] | None = None, time: list[float] | None = None) -> Posts:
    count = len(kpi)
    return Posts.of(account or ["a"] * count, time or range(count), ["t"] * count, [Path()] * count, kpi)


def test_a_table_in_any_order_with_each_way_to_write_a_time(tmp_path: Path) -> None:
    rows = "A,2024-01-02T00:00:00+02:00,later,a.png,3\nA,1704060000,first,a.png,5\nB,1704240000000,last,a.png,0\n"
    report = RowReport()
    loaded = load(table(tmp_path, rows), tmp_path, report)
    assert list(loaded.text) == ["first", "later", "last"]
    assert loaded.time.tolist() == [1704060000, 1704146400, 1704240000]
    assert report.accepted == 3


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("A,2024-01-02 10:00,t,a.png,3", "a time without zone"),
        ("A,soon,t,a.png,3", "a bad time"),
        ("A,nan,t,a.png,3", "a bad time"),
        ("A,1700000005,t,a.png,-1", "a bad kpi"),
        ("A,1700000005,t,a.png,many", "a bad kpi"),
        ("A,1700000005,t,a.png,inf", "a bad kpi"),
        ("A,1700000005,t,../a.png,3", "no such picture"),
        ("A,1700000005,t,https://x/a.png,3", "no such picture"),
        (" ,1700000005,t,a.png,3", "no account"),
        ("A,1700000005,t", "a damaged row"),
    ],
)
def test_each_unusable_row_is_refused_by_its_kind(tmp_path: Path, row: str, kind: str) -> None:
    report = RowReport()
    load(table(tmp_path, f"{row}\nA,1700000006,good,a.png,3\n"), tmp_path, report)
    assert (report.accepted, dict(report.refused)) == (1, {kind: 1})
    assert "allowed" in str(report.shown[0]["reason"]) or kind == "a damaged row"


def test_a_zone_for_times_without_one(tmp_path: Path) -> None:
    loaded = load(table(tmp_path, "A,2024-07-01 12:00,t,a.png,3\n"), tmp_path, RowReport(), "Europe/Paris")
    assert loaded.time.tolist() == [1719828000]
    with pytest.raises(IcgError, match="zone='Mars'"):
        load(tmp_path / "posts.csv", tmp_path, RowReport(), "Mars")


def test_accounts_of_the_same_name_are_merged_unless_their_ids_differ(tmp_path: Path) -> None:
    rows = "Café,1700000001,t,a.png,1\n cafe\u0301 ,1700000002,t,a.png,1\nCAFÉ,1700000003,t,a.png,1\n"
    assert len(set(load(table(tmp_path, rows), tmp_path, RowReport()).account)) == 1
    ids = "7,Café,1700000001,t,a.png,1\n8,Café,1700000002,t,a.png,1\n"
    assert list(load(table(tmp_path, ids, "account_id," + HEAD), tmp_path, RowReport()).account) == ["7", "8"]


def test_tables_without_usable_posts_or_engagement_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IcgError, match="kpi=0 in all 2 posts"):
        load(table(tmp_path, "A,1700000001,t,a.png,0\nA,1700000002,t,a.png,0\n"), tmp_path, RowReport())
    with pytest.raises(IcgError, match="no usable post"):
        load(table(tmp_path, "A,1700000001,t,b.png,5\n"), tmp_path, RowReport())
    with pytest.raises(IcgError, match=r"columns\.kpi=none of kpi"):
        load(table(tmp_path, "A,1700000001,t,a.png\n", "account,time,text,media\n"), tmp_path, RowReport())


def test_buckets_are_each_accounts_own() -> None:
    kpi = [*range(10, 20), *range(1000, 2000, 100)]
    result = buckets(posts(kpi, ["small"] * 10 + ["large"] * 10), np.ones(20, bool))
    assert result.tolist() == [*[0] * 6, *[1] * 3, 2] * 2, "60th and 90th percentile of each"


def test_buckets_use_earlier_posts_alone() -> None:
    known = np.arange(20) < 10
    result = buckets(posts([*range(10, 20), *[1000.0] * 10]), known)
    assert result[10:].tolist() == [2] * 10


def test_few_posts_share_percentiles_and_no_engagement_is_low() -> None:
    account = [f"one {n}" for n in range(20)] + ["silent"] * FEW
    result = buckets(posts([*range(10, 30), *[0] * FEW], account), np.ones(20 + FEW, bool))
    assert result[:20].tolist() == [0] * 12 + [1] * 6 + [2] * 2, "single pictures are compared with each other"
    assert not result[20:].any()
    assert buckets(posts([0.0, 0.5, 1.0]), np.ones(3, bool)).tolist() == [0, 0, 0], "floors: half a like is not high"


def test_the_test_split_is_the_latest_posts_and_keeps_equal_times_together() -> None:
    split = temporal(posts([1.0] * 100))
    assert np.bincount(split).tolist() == [70, 15, 15]
    assert (np.diff(split) >= 0).all()
    together = temporal(posts([1.0] * 100, time=[float(n // 10) for n in range(100)]))
    assert all(len(set(together[n : n + 10])) == 1 for n in range(0, 100, 10))
    with pytest.raises(IcgError, match="moments"):
        temporal(posts([1.0] * 5, time=[3.0] * 5))


def jpeg(picture: Image.Image) -> Image.Image:
    """The picture after lossy compression."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=70)
    return Image.open(file)


def test_near_duplicates_and_campaigns_do_not_leak_backwards() -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).resize((64, 64)) for _ in range(4)]
    pictures.append(ImageEnhance.Brightness(pictures[0].resize((50, 50))).enhance(1.1))
    hashed = np.stack([perceptual_hash(jpeg(picture)) for picture in pictures])
    text = ["one", "SALE 50%! https://x.y/1 #now", "three", "sale 20% https://x.y/2", "five"]
    split = np.array([0, 0, 0, 1, 2])
    assert leaking(split, hashed, ["a"] * 5, text).tolist() == [True, True, False, False, False]
    other = leaking(split, hashed, ["a", "a", "a", "b", "a"], text)
    assert other.tolist() == [True, False, False, False, False], "the same text of another account is another campaign"
    assert campaign("Sale 50%! https://x.y/1 @us #now") == "sale"
    assert np.unpackbits(perceptual_hash(pictures[0]) ^ perceptual_hash(pictures[1])).sum() > 60


def test_a_catalogue_with_impressions_and_clicks(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("RGB", (20, 20), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "items.csv").write_text("item_id,title,category,image\na,Apple,food,a.png\nb,Boat,travel,b.png\n")
    rows = [f"u{n},a,impression,{1_700_000_100 + n}" for n in range(200)] + [
        f"u{n},b,impression,{1_700_000_050 + n}" for n in range(200)
    ]
    rows += [f"u{n},a,click,{1_700_000_900 + n}" for n in range(40)] + [
        f"u{n},b,click,{1_700_000_900 + n}" for n in range(10)
    ]
    (tmp_path / "events.csv").write_text("user_id,item_id,action,timestamp\n" + "\n".join(rows) + "\n")
    loaded = from_catalogue(tmp_path, RowReport())
    assert list(loaded.account) == ["travel", "food"]
    assert loaded.time.tolist() == [1_700_000_050, 1_700_000_100]
    assert loaded.kpi == pytest.approx([1000 * (10 + 2.5) / 220, 1000 * (40 + 2.5) / 220])
    (tmp_path / "events.csv").unlink()
    with pytest.raises(IcgError, match="no table of events"):
        from_catalogue(tmp_path, RowReport())
