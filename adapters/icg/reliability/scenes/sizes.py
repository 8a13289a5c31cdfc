"""How high things are in reality, in metres, by where they stand. Rounded, from everyday knowledge; for scenes made up with them.

Titles are those of `icg.data.art`, of things whose sprites stand upright and are seen from the side.
"""

from __future__ import annotations

import hashlib

SIZES: dict[str, dict[str, float]] = {
    "table": {
        "alarm clock": 0.15, "alembic": 0.3, "amphora": 0.45, "baby bottle": 0.18, "backpack": 0.45, "basketball": 0.24, "beer mug": 0.16,
        "bell": 0.15, "birthday cake": 0.2, "bowling": 0.35, "bubble tea": 0.17, "cactus": 0.22, "camera": 0.1, "candle": 0.2,
        "canned food": 0.11, "cocktail glass": 0.16, "crown": 0.16, "crystal ball": 0.2, "cup with straw": 0.18, "cupcake": 0.09,
        "game die": 0.05, "globe showing europe africa": 0.3, "glass of milk": 0.15, "hamburger": 0.1, "honey pot": 0.14,
        "hourglass done": 0.22, "jack o lantern": 0.26, "light bulb": 0.11, "lotion bottle": 0.2, "mantelpiece clock": 0.3,
        "microscope": 0.38, "nesting dolls": 0.15, "onion": 0.09, "package": 0.25, "pear": 0.1, "pineapple": 0.3, "popcorn": 0.2,
        "potted plant": 0.35, "radio": 0.2, "red apple": 0.08, "sake": 0.15, "salt": 0.1, "soccer ball": 0.22, "takeout box": 0.12,
        "teacup without handle": 0.08, "teapot": 0.18, "teddy bear": 0.35, "tomato": 0.07, "toolbox": 0.25, "trophy": 0.32,
        "wine glass": 0.2, "wrapped gift": 0.2,
    },
    "room": {
        "barber pole": 1.0, "bathtub": 0.6, "bed": 0.8, "bicycle": 1.05, "broom": 1.4, "cat": 0.35, "chair": 0.95, "couch and lamp": 1.6,
        "dog": 0.6, "drum": 0.4, "guitar": 1.0, "kick scooter": 1.0, "ladder": 2.0, "long drum": 0.7, "loudspeaker": 0.5, "luggage": 0.65,
        "mirror": 0.6, "penguin": 0.6, "poodle": 0.5, "postbox": 1.2, "robot": 1.5, "rooster": 0.45, "shopping cart": 1.0,
        "slot machine": 1.7, "snowman": 1.5, "television": 0.7, "turkey": 0.8, "violin": 0.6,
    },
    "street": {
        "ambulance": 2.5, "automobile": 1.5, "bison": 1.8, "bus": 3.0, "camel": 2.1, "church": 14.0, "circus tent": 8.0,
        "deciduous tree": 8.0, "donkey": 1.3, "elephant": 3.2, "evergreen tree": 10.0, "fire engine": 3.1, "fountain": 2.5,
        "giraffe": 5.0, "horse": 1.7, "house": 7.0, "house with garden": 7.0, "hut": 3.5, "locomotive": 4.0, "motor scooter": 1.1,
        "motorcycle": 1.1, "palm tree": 9.0, "playground slide": 2.2, "police car": 1.5, "rhinoceros": 1.7, "sauropod": 9.0,
        "shinto shrine": 5.0, "sport utility vehicle": 1.8, "t rex": 4.5, "taxi": 1.5, "tent": 2.0, "tractor": 2.6,
        "vertical traffic light": 3.2, "zebra": 1.4,
    },
}  # fmt: skip
"""Place -> title -> height."""
WORDS: tuple[tuple[float, str], ...] = (
    (0.12, "tiny"), (0.25, "small"), (0.8, "medium"), (2.2, "large"), (float("inf"), "huge"),
)  # fmt: skip
"""Up to which height a thing is called that."""


def word(height: float) -> str:
    """Metres -> a size word."""
    return next(name for most, name in WORDS if height < most)


def held_out(title: str) -> bool:
    """True for the quarter of titles, chosen by a hash, that stand in held-out scenes alone."""
    return int(hashlib.sha256(f"scenes:{title}".encode()).hexdigest(), 16) % 4 == 0
