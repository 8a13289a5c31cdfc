"""The reference pages under docs/ from the code itself: `python -m tests.fresh_docs` says if they are stale, `--write` makes them fresh."""

import re
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import typer
from eyecatch.api import status
from eyecatch.api.identity.rights import RIGHTS, Right
from eyecatch.cli import app
from eyecatch.core import errors
from eyecatch.generate.metrics import GenerateMetrics
from eyecatch.generators.triton_metrics import EndpointCollector
from eyecatch.ingest.metrics import IngestMetrics, VectorMetrics
from eyecatch.observe.calls import Calls
from eyecatch.v1 import behavior_pb2, catalog_pb2, covers_pb2, review_pb2
from eyecatch.wiring.server_metrics import ServerMetrics
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc.code_pb2 import Code
from icg.cli import app as icg
from icg.train.recipes import NOTE, RECIPES
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from typer.main import get_command

DOCS = Path(__file__).parents[1] / "docs"
PROTOS = Path(__file__).parents[1] / "protos" / "eyecatch" / "v1"
MATRIX_BEGINS, MATRIX_ENDS = "<!-- rights: written by tests.fresh_docs -->", "<!-- end of rights -->"
ERRORS = """## Errors

Each status has these details of `google.rpc`: an `ErrorInfo` with a reason of this table and the domain `eyecatch`, a `RequestInfo`
with the caller's `x-request-id` (metadata) or a new id, which the log has too if the error is a defect; and `BadRequest`,
`ResourceInfo` or `RetryInfo` where they apply."""
APPS = {"eyecatch": app, "icg": icg}


def _walk(name: str, command: object) -> list[tuple[str, object]]:
    children = {n: c for n, c in getattr(command, "commands", {}).items() if not c.hidden}
    commands = [(name, command)] if not children or command.invoke_without_command else []  # type: ignore[attr-defined]
    for child in children:
        commands += _walk(f"{name} {child}", children[child])
    return commands


def commands_and_flags() -> dict[str, list[tuple[str, str]]]:
    """Each command with its (flag or argument, help)."""
    out: dict[str, list[tuple[str, str]]] = {}
    for name, command in [commands for script, cli in APPS.items() for commands in _walk(script, get_command(cli))]:
        rows = []
        for p in command.params:  # type: ignore[attr-defined]
            is_option = p.param_type_name == "option"
            shown = ", ".join([*p.opts, *p.secondary_opts]) if is_option else p.name.upper()
            rows.append((shown, getattr(p, "help", None) or ""))
        out[f"{name}\n{command.help}"] = rows  # type: ignore[attr-defined]
    return out


def commands_page() -> str:
    lines = ["# Commands", "", "Made from the code; each command also has `--help`.", ""]
    for heading, rows in commands_and_flags().items():
        name, help = heading.split("\n", 1)
        lines += [f"## {name}", "", help.strip(), ""]
        lines += [f"* `{shown}` {help}".rstrip() for shown, help in rows] + [""]
    lines += [
        "## Recipes",
        "",
        f"Of `icg train NAME`; `icg train NAME --help` shows a recipe's own flags. {NOTE.capitalize()}.",
        "",
    ]
    lines += ["| name | trains | needs | takes |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {one.trains} | {one.needs} | {one.takes} |" for name, one in RECIPES.items()]
    return "\n".join(lines).rstrip() + "\n"


def _comments(path: Path) -> dict[str, str]:
    """The comment above each rpc or service line of a proto file."""
    out, waiting = {}, []
    for line in path.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            waiting.append(text.removeprefix("//").strip())
            continue
        if text.startswith(("rpc ", "service ")):
            out[text.split()[1].split("(")[0]] = " ".join(waiting)
        waiting = []
    return out


def api_page() -> str:
    lines = ["# API", "", "Package `eyecatch.v1`. Every message and field is documented in `protos/eyecatch/v1`.", ""]
    for module in (covers_pb2, catalog_pb2, behavior_pb2, review_pb2):
        comments = _comments(PROTOS / Path(module.DESCRIPTOR.name).name)
        described = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(described)
        for service in described.service:
            lines += [f"## {service.name}", "", comments[service.name], ""]
            for method in service.method:
                stream = " (server stream)" if method.server_streaming else ""
                lines += [f"* **{method.name}**{stream}: {comments[method.name]}"]
            lines += [""]
    lines += [ERRORS, "", *_errors()]
    return "\n".join(lines).rstrip() + "\n"


def _errors() -> list[str]:
    """A row for each error: its reason, its code, and its line in the tree of core/errors.py."""
    meanings = dict(re.findall(r"── (\w+) +(.+?)(?: \([A-Z_]+\))?$", errors.__doc__ or "", flags=re.MULTILINE))
    rows = []
    for name, meaning in meanings.items():
        kind = getattr(errors, name)
        code = Code.Name(next(code for base, code in status.CODES if issubclass(kind, base)))
        rows.append(f"| `{status.reason(kind)}` | {code} | {meaning.strip()} |")
    return ["| reason | status | meaning |", "|---|---|---|", *rows]


class _Pools(list[str]):
    """Of one cover with one reward: a family without a sample would not name its labels."""

    def sizes(self) -> Any:
        return np.ones(1)

    def reward_sample(self, covers: int) -> dict[str, Any]:
        return {"relevance": np.ones(1)}


def _registries() -> dict[str, CollectorRegistry]:
    """The metrics of each process, those of one that calls Triton on their own."""
    calls = Calls()
    calls.of("package.Service/Method").add(0.0, "OK")
    ranker = SimpleNamespace(ranked=0, explored=0, tried=0)
    recommender = SimpleNamespace(degraded=Counter(), pools=_Pools(), ranker=ranker)
    server = ServerMetrics(*(SimpleNamespace(calls=calls), recommender, SimpleNamespace(waiting=0)))  # type: ignore[arg-type]
    triton = CollectorRegistry()
    breaker = SimpleNamespace(open=False)
    endpoint = SimpleNamespace(
        address="", ended={"answered": 0}, seconds=0.0, outstanding=0, reachable=True, breaker=breaker
    )
    triton.register(EndpointCollector([endpoint]))  # type: ignore[list-item]
    return {
        "`eyecatch serve --metrics-port`": server.registry,
        "`eyecatch ingest`": IngestMetrics().registry,
        "`eyecatch ingest` of embeddings, besides": VectorMetrics(CollectorRegistry()).registry,
        "`eyecatch generate`": GenerateMetrics().registry,
        "Any of them with `--triton`, besides": triton,
    }


def metrics() -> dict[str, list[tuple[Metric, list[str]]]]:
    """The families of each page, with their labels but for those of buckets."""
    out = {}
    for name, registry in _registries().items():
        # A family with labels has no sample before its first event, which would name them.
        declared = {
            each._name: set(each._labelnames)
            for each in registry._collector_to_names
            if isinstance(each, MetricWrapperBase)
        }
        families = sorted(registry.collect(), key=lambda family: family.name)
        labels = [declared.get(f.name, set()).union(*(s.labels for s in f.samples)) - {"le"} for f in families]
        out[name] = [(family, sorted(each)) for family, each in zip(families, labels, strict=True)]
    return out


def metrics_page() -> str:
    lines = [
        "# Metrics",
        "",
        "Of `/metrics`, for Prometheus. Made from the code; no label holds an id.",
        "Each page also has `eyecatch_build_info` and the `process_` metrics of the Prometheus client.",
        "Alert rules and dashboards on them: [Kubernetes](kubernetes.md), [runbook](runbook.md).",
        "",
    ]
    for name, families in metrics().items():
        lines += [f"## {name}", "", "| metric | kind | labels | what |", "|---|---|---|---|"]
        for family, labels in families:
            if not family.name.startswith(("process_", "eyecatch_build")):
                shown = ", ".join(f"`{label}`" for label in labels)
                lines.append(f"| `{family.name}` | {family.type} | {shown} | {family.documentation} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def security_page() -> str:
    """As it is, with the matrix between its two marks."""
    text = (DOCS / "security.md").read_text()
    before, rest = text.split(MATRIX_BEGINS)
    _, after = rest.split(MATRIX_ENDS)
    lines = ["| rpc | " + " | ".join(Right) + " |", "|---|" + ":-:|" * len(Right)]
    for method, right in RIGHTS.items():
        marks = " | ".join("yes" if right is each else "" for each in Right)
        lines.append(f"| {method.removeprefix('eyecatch.v1.')} | {marks} |")
    return f"{before}{MATRIX_BEGINS}\n\n" + "\n".join(lines) + f"\n\n{MATRIX_ENDS}{after}"


PAGES = {"commands.md": commands_page, "api.md": api_page, "metrics.md": metrics_page, "security.md": security_page}


def stale() -> list[str]:
    return [n for n, make in PAGES.items() if not (DOCS / n).is_file() or (DOCS / n).read_text() != make()]


if __name__ == "__main__":
    if "--write" in sys.argv:
        for name, make in PAGES.items():
            (DOCS / name).write_text(make())
    elif bad := stale():
        typer.echo(f"stale, run `python -m tests.fresh_docs --write`: {', '.join(bad)}", err=True)
        sys.exit(1)
