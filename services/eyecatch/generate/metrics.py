"""Metrics and health of `eyecatch generate`. Labels never hold an id."""

from prometheus_client import Counter, Gauge, Histogram

from eyecatch.core.errors import StoreError, Unavailable
from eyecatch.generate.worker import Observer
from eyecatch.kafka.metrics import ReaderMetrics
from eyecatch.observe.health import Health
from eyecatch.observe.line import Line

QUEUE, GENERATOR = "queue", "generator"


class GenerateMetrics(ReaderMetrics):
    def __init__(self) -> None:
        super().__init__("eyecatch_generate")
        r = self.registry
        self.requests = Counter("eyecatch_generate_requests", "Records read, by outcome.", ["outcome"], registry=r)
        self.jobs = Counter("eyecatch_generate_jobs", "Jobs that ended here, by outcome.", ["outcome"], registry=r)
        self.covers = Counter("eyecatch_generate_covers", "Covers put into pools.", registry=r)
        buckets = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
        text = "Seconds from taking a job to its end, of jobs DONE."
        self.job_s = Histogram("eyecatch_generate_job_seconds", text, registry=r, buckets=buckets)
        text = "Covers judged by a judge of product pictures, by whether it would show them."
        self.judged = Counter("eyecatch_generate_judged", text, ["available"], registry=r)
        self.attempts = Counter("eyecatch_generate_attempts", "Pictures drawn for judged covers.", registry=r)
        self.line = Line(r)
        self.running = Gauge("eyecatch_generate_running_jobs", "Jobs that run in this process.", registry=r)

    def count_judged(self, attempts: int, available: bool) -> None:
        """The maker's OnJudged. Availability is the share of "yes"; mean attempts are attempts divided by judged covers."""
        self.judged.labels("yes" if available else "no").inc()
        self.attempts.inc(attempts)


class MetricsObserver(Observer):
    """Counts, and reports an unreachable queue to /health; raises Unavailable when it was unreachable for `give_up_s`."""

    def __init__(self, metrics: GenerateMetrics, health: Health, give_up_s: float) -> None:
        self._metrics, self._health, self._give_up_s = metrics, health, give_up_s

    def job_ended(self, outcome: str, covers: int, seconds: float) -> None:
        self._metrics.jobs.labels(outcome).inc()
        self._metrics.covers.inc(covers)
        if outcome == "done":
            self._metrics.job_s.observe(seconds)

    def jobs_running(self, jobs: int) -> None:
        self._metrics.running.set(jobs)

    def generator_answered(self, alive: bool) -> None:
        if alive:
            self._health.well(GENERATOR)
        else:
            self._health.trouble(GENERATOR, "does not answer; jobs wait")

    def queue_answered(self, error: Unavailable | StoreError | None) -> None:
        if error is None:
            self._health.well(QUEUE)
        elif self._health.trouble(QUEUE, str(error)) >= self._give_up_s:
            raise type(error)(f"{QUEUE}: {error}; gave up after {self._give_up_s:g} s") from error
