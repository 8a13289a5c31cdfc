"""Real Triton servers for tests: the tritonserver of the nvidia-pytriton wheel on free ports of 127.0.0.1. Knows no test."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import icg

from tests.processes import owned
from tests.servers import free_port, until

ABORT = "boost::interprocess::lock_exception"
REPOSITORY = Path(__file__).parents[1] / "deploy" / "triton"


def _wheel() -> Path:
    """Its folder. (Importing pytriton would need packages that we leave out.)"""
    spec = importlib.util.find_spec("pytriton")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


class Triton:
    """One running server. `models`: those to load of `repository`; none for all."""

    def __init__(self, folder: Path, repository: Path = REPOSITORY, models: tuple[str, ...] = ()) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.address, self._shared = f"127.0.0.1:{self.port}", f"triton_{self.port}_"
        self.log = folder / "tritonserver.log"
        self._repository, self._models = repository, models
        self._backends = folder / "backends"
        self._wheel = _wheel()
        python, stubs = self._backends / "python", self._wheel / "tritonserver" / "python_backend_stubs"
        shutil.copytree(self._wheel / "tritonserver" / "backends" / "python", python)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copy(stubs / version / "triton_python_backend_stub", python)
        self.launch()

    def launch(self) -> None:
        """Start, without waiting."""
        site = self._wheel.parent
        libraries = (sysconfig.get_config_var("LIBDIR"), str(site / "nvidia_pytriton.libs"))
        environment = {
            **os.environ,
            # The stub looks for its Python beside the first one of PATH.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "PYTHONPATH": f"{Path(icg.__file__).parents[1]}:{site}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        here = ("--grpc-address", "127.0.0.1", "--metrics-address", "127.0.0.1", "--allow-http", "false")
        ports = ("--grpc-port", str(self.port), "--metrics-port", str(self.metrics_port))
        some = ("--model-control-mode", "explicit", *(f"--load-model={name}" for name in self._models))
        where = ("--model-repository", str(self._repository), "--backend-directory", str(self._backends))
        # After its 30 seconds for a model's process to start (importing torch on a busy machine), Triton would wait for ever.
        slow = ("--backend-config", "python,stub-timeout-seconds=120")
        shared = ("--backend-config", f"python,shm-region-prefix-name={self._shared}")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                owned(
                    str(self._wheel / "tritonserver" / "bin" / "tritonserver"),
                    *(*where, *here, *ports, *slow, *shared),
                    *(some if self._models else ()),
                ),
                stdout=log,
                stderr=log,
                env=environment,
                # The stub ignores PYTHONPATH and looks in its folder first: this tree's library, not the installed one.
                cwd=REPOSITORY.parents[1] / "adapters",
                start_new_session=True,  # its stubs go with it
            )

    def ready(self) -> "Triton":
        """Wait until its models can be asked."""
        try:
            until(self._answers, "tritonserver's start", 200)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.log.read_text()[-3000:]}") from error
        return self

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            # On a busy machine its Python backend aborts once in some hundred starts, in a lock of its shared memory.
            text = self.log.read_text()
            assert ABORT in text.rpartition("loading: ")[2], text[-3000:]
            self.kill()
            self.launch()
            return False
        # Whoever asks a port again and again before anybody listens connects to itself one day, and is answered with its own words.
        if "Started GRPCInferenceService" not in self.log.read_text().rpartition("loading: ")[2]:
            return False
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20):
            return True
        return False

    def metrics(self) -> Counter[str]:
        """What the models of this repository count: {what or status: value}."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20) as page:
            text = page.read().decode()
        samples = re.findall(
            r'^eyecatch_(?:covers_|scheduler_)(\w+){instance="\w+"(?:,\w+="(\w+)")?} (\S+)$', text, re.M
        )
        return Counter({label or name: round(float(value)) for name, label, value in samples})

    def model_processes(self) -> list[int]:
        """The ids of the processes in which the models run."""
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def kill(self) -> None:
        """All of it, as a machine that loses its power."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for left in Path("/dev/shm").glob(f"{self._shared}*"):  # it would have removed them itself
            left.unlink()


@contextmanager
def running(repository: Path = REPOSITORY, models: tuple[str, ...] = ()) -> Iterator[Triton]:
    """Launched; `ready` waits for it."""
    with tempfile.TemporaryDirectory() as folder:
        server = Triton(Path(folder), repository, models)
        try:
            yield server
        finally:
            server.kill()
