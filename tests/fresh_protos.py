"""Is the committed generated code what protos/ gives? `python -m tests.fresh_protos` says so, `--write` makes it so."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROTOS = ROOT / "protos"
OUT = ROOT / "services"


def generate(out: Path) -> list[Path]:
    """Run protoc into `out`; returns the files written, relative to it."""
    files = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.rglob("*.proto"))
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--plugin=protoc-gen-mypy={plugin}"]
    command += [f"--python_out={out}", f"--grpc_python_out={out}", f"--mypy_out=quiet:{out}", *files]
    subprocess.run(command, check=True, cwd=PROTOS)
    return sorted(p.relative_to(out) for p in out.rglob("*_pb2*.py*") if "__pycache__" not in p.parts)


def stale() -> list[str]:
    """Generated files that differ from the committed ones, are missing, or should not be there."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = {p: Path(scratch, p).read_bytes() for p in generate(Path(scratch))}
    present = {p.relative_to(OUT) for p in (OUT / "eyecatch" / "v1").glob("*_pb2*.py*")}
    differ = [p for p, data in fresh.items() if not (OUT / p).is_file() or (OUT / p).read_bytes() != data]
    return sorted(map(str, {*differ, *(present - set(fresh))}))


if __name__ == "__main__":
    if "--write" in sys.argv:
        generate(OUT)
    elif bad := stale():
        sys.exit(f"generated code is stale, run `make proto`: {', '.join(bad)}")
