"""Tastes: segments of users and the clusters behind them."""
