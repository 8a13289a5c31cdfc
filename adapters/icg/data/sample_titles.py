"""The subjects of the sample catalogue and their titles, as a shop or a magazine would write them. Knows no pictures.

A title holds its subject's name, and only words that the starter's dual encoder knows (`starter/dual/words.txt`). The encoder finds
most titles a little less relevant than the bare names (`python -m tests.sample_titles`), as it will those of any shop.
"""

from __future__ import annotations

TITLES: dict[str, str] = {
    "panda": "Sleepy young panda",
    "owl": "Wise old owl",
    "octopus": "Giant octopus",
    "butterfly": "Blue summer butterfly",
    "rose": "Summer rose",
    "penguin": "Little emperor penguin",
    "tiger": "Playful tiger cub",
    "dolphin": "Curious young dolphin",
    "polar-bear": "Great polar bear",
    "lion": "Magnificent young lion",
    "frog": "Green tree frog",
    "whale": "Gentle blue whale",
    "fox": "Charming young fox",
    "cactus": "Desert cactus",
    "strawberry": "Fresh ripe strawberry",
    "pizza": "Roasted pepper pizza",
    "hamburger": "Classic hamburger",
    "birthday-cake": "Splendid birthday cake",
    "hot-beverage": "Creamy hot beverage",
    "lemon": "Juicy organic lemon",
    "pancakes": "Breakfast pancakes",
    "sandwich": "Club sandwich",
    "popcorn": "Cinema popcorn",
    "rocket": "Space rocket",
    "helicopter": "Rescue helicopter",
    "volcano": "Active volcano",
    "castle": "Medieval castle",
    "ferris-wheel": "Giant ferris wheel",
    "bicycle": "City bicycle",
    "automobile": "Vintage automobile",
    "tent": "Hiking tent",
    "locomotive": "Historic steam locomotive",
    "desert-island": "Mysterious desert island",
    "soccer-ball": "Leather soccer ball",
    "basketball": "Street basketball",
    "artist-palette": "Artist palette",
    "kite": "Summer kite",
    "teddy-bear": "Adorable teddy bear",
    "trophy": "Championship trophy",
    "magic-wand": "Mysterious magic wand",
    "guitar": "Electric guitar",
    "camera": "Vintage film camera",
    "telescope": "Astronomical telescope",
    "crown": "Royal gold crown",
    "backpack": "School backpack",
    "radio": "Portable kitchen radio",
    "saxophone": "Tenor saxophone",
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
