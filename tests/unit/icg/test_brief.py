"""Briefs refuse fields out of range by name, and their digests cover all that matters."""

from __future__ import annotations

import numpy as np
import pytest
from icg.brief import Brief
from icg.errors import BriefError
from PIL import Image

PICTURE = Image.new("RGB", (8, 8), "red")


def cut_out(colour: str) -> Image.Image:
    picture = Image.new("RGBA", (8, 8))
    picture.paste(Image.new("RGBA", (4, 4), colour), (2, 2))
    return picture


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("title", {"title": "x" * 513}),
        ("title", {"title": "  "}),
        ("references", {"references": (PICTURE,) * 5}),
        ("references", {"references": ("not a picture",)}),
        ("strength", {"strength": 1.01}),
        ("strength", {"strength": float("nan")}),
        ("seed", {"seed": -1}),
        ("steps", {"steps": 0}),
        ("steps", {"steps": 1.5}),
        ("guidance", {"guidance": 21}),
        ("user_guidance", {"user_guidance": -1.0}),
        ("guided", {"guided": (0.5, 0.2)}),
        ("guided", {"guided": (0.0, 1.5)}),
        ("guided", {"guided": (float("nan"), 1.0)}),
        ("guided", {"guided": (0.0, 0.5, 1.0)}),
        ("reference_strength", {"reference_strength": 0.5}),
        ("product", {"product": PICTURE}),
        ("product", {"product": "not a picture"}),
        ("product", {"product": Image.new("RGBA", (8, 8))}),
        ("product", {"product": Image.new("RGBA", (8, 8), "red")}),
        ("audience", {"audience": "x" * 201}),
        ("size", {"size": (96, 97)}),
        ("user_embedding", {"user_embedding": np.array([np.nan] * 64)}),
        ("user_embedding", {"user_embedding": np.zeros((2, 64))}),
    ],
)
def test_refuses_by_name(field: str, values: dict) -> None:
    with pytest.raises(BriefError, match=field) as refusal:
        Brief(**{"title": "panda", **values})
    assert "allowed" in str(refusal.value)


def test_digest_is_stable_and_sees_every_field() -> None:
    base = Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1)
    assert base.digest() == Brief("panda", (PICTURE.copy(),), np.ones(64) / 8, seed=1).digest()
    others = [
        Brief("pandas", (PICTURE,), np.ones(64) / 8, seed=1),
        Brief("panda", (), np.ones(64) / 8, seed=1),
        Brief("panda", (PICTURE,), -np.ones(64) / 8, seed=1),
        Brief("panda", (PICTURE,), np.ones(64) / 8, seed=2),
        Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1, strength=0.5),
        Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1, user_guidance=3.0),
        Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1, guided=(0.0, 0.5)),
        Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1, reference_strength=0.3),
        Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1, product=cut_out("red")),
        Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1, product=cut_out("blue")),
    ]
    others.append(Brief("panda", (PICTURE,), np.ones(64) / 8, seed=1, audience="coffee enthusiasts"))
    assert len({b.digest() for b in [base, *others]}) == 12


def test_item_digest_sees_transparency() -> None:
    """A black drawing is all black without its alpha."""
    digests = set()
    for edge in (2, 3):
        ink = Image.new("RGBA", (8, 8))
        ink.paste((0, 0, 0, 255), (0, 0, edge, edge))
        digests.add(Brief("panda", (ink,)).item_digest())
    assert len(digests) == 2


def test_item_digest_ignores_the_user() -> None:
    assert Brief("panda").item_digest() == Brief("panda", user_embedding=np.ones(64), seed=9).item_digest()
