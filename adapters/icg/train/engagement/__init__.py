"""Engagement-aware design (BOIG): the designer learns from clicks."""
