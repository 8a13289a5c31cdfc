"""The default score: the rewards, their weights, and means and deviations measured on covers of the starter."""

from collections.abc import Iterable
from dataclasses import replace

from eyecatch.core.score import CLICKS, RewardSpec, Scoring

SCORING = Scoring(
    preference=RewardSpec("preference", weight=1.0, mean=0.0, deviation=0.3),
    stored=(
        RewardSpec("relevance", weight=0.25, mean=0.05, deviation=0.13),
        RewardSpec("aesthetic", weight=0.1, mean=0.6, deviation=0.15),
        RewardSpec("reliability", weight=0.25, mean=0.5, deviation=0.3),
        RewardSpec("engagement", weight=0.0, mean=0.2, deviation=0.15),  # the VLM has to read each picture for it
        RewardSpec(CLICKS, weight=0.0, mean=0.0, deviation=0.3),  # a server learns it from events; upkeep/clicks.py
    ),
)

PUBLIC = {
    "clip": RewardSpec("relevance", weight=0.25, mean=0.28, deviation=0.04),
    "aesthetic": RewardSpec("aesthetic", weight=0.1, mean=0.6, deviation=0.15),
    "laion-aesthetic": RewardSpec("aesthetic", weight=0.1, mean=5.3, deviation=0.6),
    "pickscore": RewardSpec("pickscore", weight=0.25, mean=20.0, deviation=1.3),
    "hpsv2": RewardSpec("hpsv2", weight=0.25, mean=0.27, deviation=0.02),
    "imagereward": RewardSpec("imagereward", weight=0.25, mean=0.0, deviation=1.0),
    "safety": RewardSpec("safety", weight=0.0, mean=1.0, deviation=0.1),
    "opennsfw": RewardSpec("safety", weight=0.0, mean=1.0, deviation=0.1),
}
"""Rewards that can be added by name, with the scales that are published for them. Safety is a gate and counts only with a weight."""


def extended(base: Scoring, names: Iterable[str]) -> Scoring:
    """`base` with these rewards of PUBLIC, in the place of one of the same name."""
    specs = {PUBLIC[name].name: PUBLIC[name] for name in names}
    own = {spec.name for spec in base.stored}
    stored = tuple(specs.get(spec.name, spec) for spec in base.stored)
    return replace(base, stored=(*stored, *(spec for name, spec in specs.items() if name not in own)))
