"""What others rank items with, each with the configurations that a tuning tries in order: popularity, item-kNN, EASE, iALS, BPR.

item-kNN, iALS and BPR are those of the `implicit` library (extra `peers`). All learn from distinct (user, item) pairs, with an option from
those that were met but not wanted: neither order nor content.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from icg.data.interactions import Interactions
from icg.errors import IcgError
from icg.evaluate.ranking import Scorer

Options = Mapping[str, float]


@dataclass(frozen=True)
class Peer:
    """fit(known, options, seed) -> scores. grid: the options to try, most usual first. seeded: another seed gives other scores."""

    name: str
    fit: Callable[[Interactions, Options, int], Scorer]
    grid: Sequence[Options]
    seeded: bool = False


def matrix(known: Interactions, options: Options) -> Any:
    """The users x items matrix of distinct pairs as scipy's CSR, float32: one for wanted ones, option `others` (0 without it) for those
    that were met only. Raises IcgError without scipy."""
    sparse = _library("scipy.sparse")
    user, item = known.pairs()
    x = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), (known.users, known.items))
    if others := options.get("others", 0.0):
        met = sparse.csr_matrix((np.ones(len(known), np.float32), (known.user, known.item)), x.shape)
        x = x.maximum(others * (met > 0).astype(np.float32)).tocsr()
    return x


def popularity(known: Interactions, options: Options, seed: int) -> Scorer:
    """Items by the number of users who engaged with them."""
    row = known.popularity().astype(np.float32)
    return lambda users: np.tile(row, (len(users), 1))


def random(known: Interactions, options: Options, seed: int) -> Scorer:
    """Uniform numbers, the same for a user at every call."""
    return lambda users: np.stack(
        [np.random.default_rng((seed, int(u))).random(known.items, np.float32) for u in users]
    )


def ease(known: Interactions, options: Options, seed: int) -> Scorer:
    """EASE (arXiv:1905.03375) with the ridge `penalty`; without an items x items matrix, memory is users x items + users^2.

    Scores are Q B for users' rows Q, B = 1 - P / diag(P), and by Woodbury's identity P = (X'X + penalty)^-1 = (1 - X' K) / penalty with
    K = (X X' + penalty)^-1 X. Option `recent`: rows of Q weigh a user's n-th latest event by exp(-n / recent); without it by one.
    """
    pairs = matrix(known, options)
    x = pairs.toarray()
    penalty = options["penalty"]
    inner = np.linalg.solve((x @ x.T).astype(np.float64) + penalty * np.eye(len(x)), x.astype(np.float64))
    diagonal = (1 - np.einsum("ui,ui->i", x, inner)) / penalty
    rows = x * latest(known, options) if "recent" in options else x

    def score(users: np.ndarray) -> np.ndarray:
        q = rows[users]
        scores: np.ndarray = (q - (q - (q @ x.T) @ inner) / (penalty * diagonal)).astype(np.float32)
        return scores

    return _or_popular(known, pairs, score)


def latest(known: Interactions, options: Options) -> np.ndarray:
    """(users, items) float32: exp(-n / recent) for a user's n-th latest event, n from 0; only wanted ones count without `others`."""
    used = known.positive | bool(options.get("others", 0.0))
    count = np.concatenate([[0], np.cumsum(used)])
    rows = np.flatnonzero(used)
    after = count[known.start[1:]][known.user[rows]] - count[rows] - 1
    out = np.zeros((known.users, known.items), np.float32)
    np.maximum.at(out, (known.user[rows], known.item[rows]), np.exp(-after / options["recent"]).astype(np.float32))
    return out


def knn(known: Interactions, options: Options, seed: int) -> Scorer:
    """Sums of cosines with the user's items, over the `neighbours` nearest of each item."""
    model = _library("implicit.nearest_neighbours").CosineRecommender(K=int(options["neighbours"]), num_threads=1)
    x = matrix(known, options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Method expects CSR input")  # which the library itself passes on as another
        model.fit(x, show_progress=False)
    similarity = model.similarity.tocsr(copy=True)
    similarity.setdiag(0)  # an item is its own nearest neighbour
    return _or_popular(known, x, lambda users: np.asarray((x[users] @ similarity).toarray()))


def ials(known: Interactions, options: Options, seed: int) -> Scorer:
    """Implicit alternating least squares (Hu, Koren, Volinsky 2008)."""
    model = partial(
        _library("implicit.cpu.als").AlternatingLeastSquares,
        factors=int(options["factors"]),
        regularization=options["regularisation"],
        alpha=options["alpha"],
        iterations=int(options.get("iterations", 15)),
        num_threads=1,
        random_state=seed,
    )
    return _factors(model, known, matrix(known, options))


def bpr(known: Interactions, options: Options, seed: int) -> Scorer:
    """Bayesian personalised ranking (arXiv:1205.2618)."""
    model = partial(
        _library("implicit.cpu.bpr").BayesianPersonalizedRanking,
        factors=int(options["factors"]),
        learning_rate=options["rate"],
        regularization=options["regularisation"],
        iterations=int(options["iterations"]),
        num_threads=1,
        random_state=seed,
    )
    return _factors(model, known, matrix(known, options))


def _or_popular(known: Interactions, pairs: Any, score: Scorer) -> Scorer:
    """Users of whom nothing is known get popularity: without it, all items would be alike to them."""
    popular = known.popularity().astype(np.float32)
    cold = np.diff(pairs.indptr) == 0
    return lambda users: np.where(cold[users, None], popular, score(users))


def _factors(create: Callable[[], Any], known: Interactions, pairs: Any) -> Scorer:
    # The library warns unless numpy's own threads are one, as soon as a model is created: its loops are parallel themselves.
    with _library("threadpoolctl").threadpool_limits(1, "blas"):
        model = create()
        model.fit(pairs, show_progress=False)
    users, items = np.asarray(model.user_factors), np.asarray(model.item_factors)
    return _or_popular(known, pairs, lambda rows: users[rows] @ items.T)


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise IcgError(
            f"peers: the module {name!r} is missing; allowed: an install with the extra, eyecatch[peers]"
        ) from error


POPULARITY = Peer("popularity", popularity, ({},))
RANDOM = Peer("random", random, ({},))
MEMORY = Peer(
    "memory",
    ease,
    [
        {"penalty": penalty, "recent": recent, "others": others}
        for penalty, recent, others in (
            (300, 10, 0.5),
            (300, 10, 0),
            (300, 20, 0.5),
            (500, 10, 0.5),
            (300, 5, 0.5),
            (300, 30, 0),
            (1_000, 10, 0.5),
            (500, 20, 0.3),
        )
    ],
)
"""Not a peer but ours: EASE that knows which items came last."""
PEERS = (
    Peer(
        "item-kNN",
        knn,
        [
            {"neighbours": n, "others": o}
            for n, o in ((200, 0), (100, 0.5), (1_000, 0), (400, 0.5), (20, 0), (50, 0), (2_000, 0), (100, 1))
        ],
    ),
    Peer(
        "EASE",
        ease,
        [
            {"penalty": n, "others": o}
            for n, o in ((300, 0), (100, 0.5), (100, 0), (300, 0.5), (500, 0), (30, 0), (1_000, 0), (200, 1))
        ],
    ),
    Peer(
        "iALS",
        ials,
        [
            {"factors": f, "regularisation": r, "alpha": a, "others": o}
            for f, r, a, o in (
                (32, 3.0, 3.0, 0),
                (32, 1.0, 1.0, 0),
                (16, 3.0, 3.0, 0),
                (32, 3.0, 3.0, 0.3),
                (64, 10.0, 10.0, 0),
                (32, 30.0, 10.0, 0),
                (64, 10.0, 3.0, 0),
                (128, 10.0, 3.0, 0),
            )
        ],
        seeded=True,
    ),
    Peer(
        "BPR",
        bpr,
        [
            {"factors": f, "rate": rate, "regularisation": r, "iterations": n}
            for f, rate, r, n in (
                (64, 0.05, 0.01, 100),
                (32, 0.05, 0.03, 100),
                (64, 0.02, 0.01, 200),
                (64, 0.05, 0.05, 200),
                (16, 0.05, 0.03, 200),
                (128, 0.05, 0.03, 100),
                (32, 0.02, 0.05, 300),
                (64, 0.1, 0.03, 50),
            )
        ],
        seeded=True,
    ),
)
