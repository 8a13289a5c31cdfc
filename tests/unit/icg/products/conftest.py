"""The pipelines and schedulers of the scheduler's tests."""

from tests.unit.icg.scheduler.conftest import covers, one_thread, opened

__all__ = ["covers", "one_thread", "opened"]
