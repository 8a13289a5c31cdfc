"""The subjects of the sample catalogue and their titles, as a shop or a magazine would write them. Knows no pictures.

A title holds its subject's name, and only words that the starter's dual encoder knows (`starter/dual/words.txt`). Each was chosen
so that the encoder finds its subject's pictures no less relevant than for the bare name (`python -m tests.sample_titles`).
"""

from __future__ import annotations

TITLES: dict[str, str] = {
    "panda": "Mischievous young panda",
    "owl": "Charming young owl",
    "octopus": "Mysterious octopus",
    "butterfly": "Graceful summer butterfly",
    "rose": "Graceful summer rose",
    "penguin": "Friendly young penguin",
    "tiger": "Playful tiger cub",
    "dolphin": "Curious young dolphin",
    "polar-bear": "Hardy polar bear",
    "lion": "Magnificent young lion",
    "frog": "Graceful young frog",
    "whale": "Gentle arctic whale",
    "fox": "Charming young fox",
    "cactus": "Hardy young cactus",
    "strawberry": "Delicious ripe strawberry",
    "pizza": "Famous roasted pizza",
    "hamburger": "Famous summer hamburger",
    "birthday-cake": "Splendid birthday cake",
    "hot-beverage": "Creamy hot beverage",
    "lemon": "Juicy organic lemon",
    "pancakes": "Delicious pancakes",
    "sandwich": "Famous sandwich",
    "popcorn": "Roasted popcorn",
    "rocket": "Curious rocket",
    "helicopter": "Handy helicopter",
    "volcano": "Spectacular summer volcano",
    "castle": "Noble meadow castle",
    "ferris-wheel": "Graceful ferris wheel",
    "bicycle": "Charming bicycle",
    "automobile": "Celebrity automobile",
    "tent": "Handy hiking tent",
    "locomotive": "Famous historic locomotive",
    "desert-island": "Mysterious desert island",
    "soccer-ball": "Superstar soccer ball",
    "basketball": "Autumn basketball",
    "artist-palette": "Essential artist palette",
    "kite": "Summer kite",
    "teddy-bear": "Adorable teddy bear",
    "trophy": "Magnificent trophy",
    "magic-wand": "Mysterious magic wand",
    "guitar": "Famous folk guitar",
    "camera": "Hardy everyday camera",
    "telescope": "Handy telescope",
    "crown": "Delightful royal crown",
    "backpack": "Fantastic little backpack",
    "radio": "Handy radio",
    "saxophone": "Rare tenor saxophone",
    "running-shoe": "Marathon running shoe",
}
"""The preferred subjects, in the order of the catalogue."""
PATTERNS: dict[str, str] = {
    "nature": "Curious young {}",
    "food": "Delicious {}",
    "travel": "Famous {}",
    "activities": "Splendid {}",
    "objects": "Handy {}",
}
"""By category: the titles of subjects that stand in for missing ones."""


def title_of(id: str, name: str, category: str) -> str:
    """The title of the subject `id`, whose name in words is `name`."""
    return TITLES.get(id) or PATTERNS[category].format(name)
