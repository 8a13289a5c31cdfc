"""What Prometheus and /health are told of `eyecatch generate`. No label ever holds an id."""

from prometheus_client import Counter, Gauge, Histogram

from eyecatch.core.errors import Unavailable
from eyecatch.generate.worker import Tally
from eyecatch.kafka.metrics import ReaderMetrics
from eyecatch.observe.health import Health

QUEUE = "queue"


class Metrics(ReaderMetrics):
    def __init__(self) -> None:
        super().__init__("eyecatch_generate")
        r = self.registry
        self.requests = Counter("eyecatch_generate_requests", "Records read, by outcome.", ["outcome"], registry=r)
        self.jobs = Counter("eyecatch_generate_jobs", "Jobs that ended here, by how.", ["outcome"], registry=r)
        self.covers = Counter("eyecatch_generate_covers", "Covers put into pools.", registry=r)
        self.job_s = Histogram(
            "eyecatch_generate_job_seconds", "Jobs DONE, from taken to told.", registry=r,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250),
        )  # fmt: skip
        self.judged = Counter(
            "eyecatch_generate_judged", "Covers that a judge of product pictures has seen, by whether it would show them.",
            ["available"], registry=r,
        )  # fmt: skip
        self.attempts = Counter("eyecatch_generate_attempts", "Pictures drawn for judged covers.", registry=r)
        self.running = Gauge("eyecatch_generate_running_jobs", "Jobs at work in this process.", registry=r)

    def heard(self, attempts: int, available: bool) -> None:
        """The maker's OnJudged: availability is the share of "yes", mean attempts those over all judged."""
        self.judged.labels("yes" if available else "no").inc()
        self.attempts.inc(attempts)


class Account(Tally):
    """Counts, and says when the queue is away; Unavailable when that has lasted `give_up_s`."""

    def __init__(self, metrics: Metrics, health: Health, give_up_s: float) -> None:
        self._metrics, self._health, self._give_up_s = metrics, health, give_up_s

    def ended(self, outcome: str, covers: int, seconds: float) -> None:
        self._metrics.jobs.labels(outcome).inc()
        self._metrics.covers.inc(covers)
        if outcome == "done":
            self._metrics.job_s.observe(seconds)

    def running(self, jobs: int) -> None:
        self._metrics.running.set(jobs)

    def queue(self, error: Unavailable | None) -> None:
        if error is None:
            self._health.well(QUEUE)
        elif self._health.trouble(QUEUE, str(error)) >= self._give_up_s:
            raise type(error)(f"{QUEUE}: {error}; gave up after {self._give_up_s:g} s") from error
