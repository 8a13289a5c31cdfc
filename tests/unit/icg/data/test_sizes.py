"""How high a product is, from its title."""

import pytest
from icg.data.sizes import GOODS, MOST, SIZES, USUAL, held_out, metres, word


@pytest.mark.parametrize(
    ("title", "height"),
    [
        ("birthday cake, 20 cm high", 0.2),
        ("cat (35 cm)", 0.35),
        ("Oak coffee table 120 x 45 cm", 0.45),
        ("Sofa 2.4 m wide, 85 cm high", 0.85),
        ("Floor lamp, 5 ft tall", 1.524),
        ("Ring 12mm", 0.012),
        ("Tisch 0,72 m", 0.72),
        ("Blue denim jacket", GOODS["jacket"]),
        ("large bicycle", SIZES["room"]["bicycle"]),
        ("Kitchen lamp for the table", GOODS["table"]),
        ("huge widget", 4.5),
        ("Widget 3000", USUAL),
        ("", USUAL),
        ("Mast 900 m high", MOST),
    ],
)
def test_a_length_comes_before_a_name_and_a_name_before_a_size_word(title: str, height: float) -> None:
    assert metres(title) == pytest.approx(height)


def test_size_words_follow_heights() -> None:
    assert [word(height) for height in (0.05, 0.2, 0.5, 1.0, 9.0)] == ["tiny", "small", "medium", "large", "huge"]


def test_a_quarter_of_the_titles_is_held_out() -> None:
    titles = [title for sizes in SIZES.values() for title in sizes]
    assert 0.15 < sum(map(held_out, titles)) / len(titles) < 0.4
