"""One user and one item before and after generation, and why one cover won, in words. Knows no server and no picture format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyecatch.v1 import types_pb2

ADVANTAGES = {
    "preference": "closer to what {user} likes",
    "relevance": "item clearer",
    "aesthetic": "looks better",
    "reliability": "truer to the product",
    "engagement": "more likely to be opened",
    "clicks": "clicked more",
}
DRAWBACKS = {
    "preference": "further from what {user} likes",
    "relevance": "item less clear",
    "aesthetic": "looks plainer",
    "reliability": "less true to the product",
    "engagement": "less likely to be opened",
    "clicks": "clicked less",
}
GATES = {
    "domain": "an item unlike those that the model draws",
    "fidelity": "does not show the item as its own picture does",
    "artifacts": "looks damaged",
    "aesthetic": "looks worse than the item's own covers",
    "safety": "may be unsafe",
}
# Parts of a score that round to zero decide nothing.
LEAST = 0.005


@dataclass
class Comparison:
    """The best cover for `user` before and after generation, the covers made for `user`, and the made one to compare with.

    best: the made cover that `user` gets, else the best one made for `user` that passed the gates. best_for: for whom it was made.
    """

    user: str
    item: str
    before: "types_pb2.ScoredCover"
    after: "types_pb2.ScoredCover | None" = None
    new: "list[types_pb2.Cover]" = field(default_factory=list)
    best: "types_pb2.ScoredCover | None" = None
    best_for: str = ""

    def choose_best(self, ranked: "Sequence[types_pb2.ScoredCover]", made_for: Mapping[str, str]) -> None:
        """Set `best` from the item's covers, best first. made_for: the user of each made cover, by cover id."""
        own = (c for c in ranked if made_for.get(c.cover_id) == self.user)
        self.best = ranked[0] if ranked and ranked[0].cover_id in made_for else next(own, None)
        self.best_for = made_for[self.best.cover_id] if self.best else ""

    @property
    def won(self) -> bool:
        """Whether the user now gets a made cover."""
        return self.after is not None and self.best is not None and self.after.cover_id == self.best.cover_id

    @property
    def waiting(self) -> "types_pb2.Cover | None":
        """If every cover made for the user failed a gate: one that failed the fewest."""
        return None if self.best else min(self.new, key=lambda cover: len(cover.reasons), default=None)

    @property
    def shown(self) -> str:
        """Id of the made cover to show; "" if none was drawn."""
        return self.best.cover_id if self.best else (self.waiting.id if self.waiting else "")

    @property
    def headline(self) -> str:
        """Which cover the user gets, and by how much."""
        if self.best is None:
            return "Made cover waits for review" if self.new else "No cover was drawn"
        margin = abs(self.best.score - self.before.score)
        return f"{'Made' if self.won else 'Pool'} cover wins by {margin:.2f}"

    @property
    def reason(self) -> str:
        """Why: how the score of the winner differs from the other's, or the gates that the made cover failed."""
        if self.best is None:
            return capitalised("; ".join(gate_in_words(r) for r in (self.waiting.reasons if self.waiting else ())))
        if not self.won:
            return capitalised(difference_in_words(self.user, parts(self.before), parts(self.best)))
        origin = f"drawn for {self.best_for}; " if self.best_for != self.user else ""
        return capitalised(origin + difference_in_words(self.user, parts(self.best), parts(self.before)))


def parts(cover: "types_pb2.ScoredCover") -> dict[str, float]:
    """Contributions to the score by reward."""
    return {part.name: part.contribution for part in cover.parts}


def difference_in_words(user: str, one: Mapping[str, float], other: Mapping[str, float]) -> str:
    """How `one` differs from `other` in what adds to the score: of the three largest parts advantages, then drawbacks."""
    differences = {name: one.get(name, 0.0) - other.get(name, 0.0) for name in dict.fromkeys([*one, *other])}
    largest = sorted((n for n in differences if abs(differences[n]) >= LEAST), key=lambda n: -abs(differences[n]))[:3]

    def words(name: str) -> str:
        value = differences[name]
        phrases, plain = (ADVANTAGES, f"more {name}") if value > 0 else (DRAWBACKS, f"less {name}")
        return f"{phrases.get(name, plain).format(user=user)} ({value:+.2f})"

    advantages = ", ".join(words(name) for name in largest if differences[name] > 0)
    drawbacks = ", ".join(words(name) for name in largest if differences[name] < 0)
    return " but ".join(filter(None, (advantages, drawbacks))) or "no difference that counts"


def gate_in_words(reason: str) -> str:
    """`fidelity=0.31; allowed: at least 0.5` -> plain words with the numbers; an unknown gate's reason as it is."""
    name = reason.split("=")[0].split(":")[0]
    if name not in GATES:
        return reason
    numbers = reason[len(name) :].lstrip("=: ").removeprefix("got ").replace("; allowed: at least", ", needs")
    return f"{GATES[name]} ({numbers.split(', near')[0]})"


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
