"""What a recall job measures, and how it hides events. Knows no store and no ranker."""

from dataclasses import dataclass

from icg.data.interactions import Interactions, Split, by_time, leave_last
from icg.evaluate.stopping import Rounds

from eyecatch.core.errors import InvalidInput

KS = (1, 5, 10, 20, 50, 100)
SPLITS = ("last", "time")


@dataclass(frozen=True)
class RecallSettings:
    """ks: depths. split: "last" hides the last `leave_out` of users with `least` engaged items, "time" everything after `share` of all
    engagements. target: "engaged", or "liked" for likes and purchases alone. peers: train and tune others on the same split, `trials`
    configurations each, trained in `rounds` where training is iterative, and `seeds` fits of those that depend on chance. steps: at most,
    of SASRec and the encoder."""

    ks: tuple[int, ...] = KS
    split: str = "last"
    leave_out: int = 5
    least: int = 10
    share: float = 0.9
    target: str = "engaged"
    seed: int = 0
    peers: bool = False
    trials: int = 4
    seeds: int = 3
    steps: int = 2_000
    rounds: Rounds = Rounds()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1 or self.leave_out < 1 or self.least <= self.leave_out:
            value = (self.ks, self.leave_out, self.least)
            raise InvalidInput.of("recall", value, "ks >= 1 and 1 <= leave_out < min_events")
        if self.split not in SPLITS:
            raise InvalidInput.of("split", self.split, f"one of {', '.join(SPLITS)}")
        if not 0 < self.share < 1:
            raise InvalidInput.of("time_share", self.share, "above 0 and below 1")
        for name in ("trials", "seeds", "steps"):
            if getattr(self, name) < 1:
                raise InvalidInput.of(name, getattr(self, name), "1 or more")

    def budget(self) -> dict[str, int]:
        """Of the tuning of each ranking; nothing without peers."""
        if not self.peers:
            return {}
        return {
            "configurations": self.trials,
            "most rounds": self.rounds.most,
            "rounds without improvement": self.rounds.patience,
            "most steps of SASRec and encoder": self.steps,
            "seeds": self.seeds,
        }

    def cut(self, table: Interactions) -> Split:
        """The split of a table of events."""
        if self.split == "time":
            return by_time(table, self.share)
        return leave_last(table, self.leave_out, self.least)

    def validation(self, split: Split) -> Split | None:
        """The known part split in the same way; None if no user is left in it."""
        inner = self.cut(split.known)
        return inner if len(inner.users) else None
