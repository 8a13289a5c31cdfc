"""Covers in one running batch that requests join and leave between denoising steps. Knows no service and no wire.

`engine.StepScheduler` is the verb: `submit` a brief, get a future of its cover. docs/scheduler.md tells the whole.
"""
