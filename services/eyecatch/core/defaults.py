"""The default score: the rewards, their weights, and means and deviations measured on covers of the starter."""

from eyecatch.core.score import RewardSpec, Scoring

SCORING = Scoring(
    preference=RewardSpec("preference", weight=1.0, mean=0.0, deviation=0.3),
    stored=(
        RewardSpec("relevance", weight=0.25, mean=0.05, deviation=0.13),
        RewardSpec("aesthetic", weight=0.1, mean=0.6, deviation=0.15),
        RewardSpec("reliability", weight=0.25, mean=0.5, deviation=0.3),
        RewardSpec("engagement", weight=0.0, mean=0.2, deviation=0.15),  # the VLM has to read each picture for it
    ),
)
