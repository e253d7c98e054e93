"""Ray: the cluster that was named, or one of this machine for as long as it is needed."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, Final

from ecglib import paths
from ecglib.errors import UserError

WHERE: Final = "--engine ray"
SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # a cluster that is not there is told in a minute
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a search, which --resume goes on with
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Read by Ray as it is imported."""
ALONE: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Read likewise: false, Ray listens on the loopback address, as it does on other systems."""


def library(address: str = "") -> Any:
    """Ray, to be joined at an address (see `joined`); a `UserError` where it is not installed."""
    settings = SETTINGS | ({ALONE: "0"} if _whole(address) == "local" else {})
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        do = 'pip install "ecglib-book[tune]"'
        raise UserError(WHERE, "ray is not installed", "the extra tune", do) from None
    return ray


def _whole(address: str) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


@contextmanager
def joined(address: str = "", **own: Any) -> Iterator[Any]:
    """Ray, on the cluster at an address (else of `RAY_ADDRESS`), or else on one of this machine, which ends with the
    block; `own` is what `ray.init` is given for that. The dashboard's address is told on stderr. A `UserError` where
    Ray can't be had, or fails, or where this process has one already, which knows nothing of the project's folder.

    Machines of a cluster need this package, and the project's folder, where there is one, at the same path.
    """
    ray, address = library(address), _whole(address)
    where, own = f"{WHERE} ({address})", {"dashboard_host": "127.0.0.1"} | own if address == "local" else {}
    if ray.is_initialized():
        raise UserError(where, "this process has a Ray of its own already", do="ray.shutdown() ends it")
    told = {}
    with suppress(UserError):  # outside a project there is no folder of it
        if (paths.root() / "_quarto.yml").is_file():
            told = {"ECGLIB_ROOT": str(paths.root()), "ECGLIB_DATA": str(paths.data())}
    kept: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "runtime_env": {"env_vars": told}}
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if port.isdigit():  # else Ray would find out in a minute, with lines of its own that can't be turned off
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        with redirect_stdout(sys.stderr):
            cluster = ray.init(address, **kept, **own)
    except Exception as error:  # some are of no kind of their own
        do = "repeat it when the machine is less busy" if address == "local" else "see that it runs there"
        raise UserError(where, f"Ray does not start ({line(error)})", do=f"{do}, or leave {WHERE} away") from None
    try:
        if cluster.dashboard_url:
            print(f"Ray's dashboard: http://{cluster.dashboard_url}", file=sys.stderr)
        with redirect_stdout(sys.stderr):  # what Ray tells of its machines is no output
            yield ray
    except ray.exceptions.RayError as error:
        raise UserError(where, f"Ray failed ({line(error)})", do="repeat it; what is done stays") from None
    finally:
        ray.shutdown()


def nodes(ray: Any) -> list[dict[str, float]]:
    """The resources of every machine that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def refuse_too_much(asked: Mapping[str, float], nodes: Sequence[Mapping[str, float]], where: str) -> None:
    """Raise UserError where no machine has what is asked for at once, such as `{"CPU": 2, "GPU": 0.5}`."""
    if not any(all(node.get(name, 0) >= n for name, n in asked.items()) for node in nodes):
        said = ", ".join(f"{n:g} {name}" for name, n in asked.items() if n)
        there = "; ".join(", ".join(f"{node.get(name, 0):g} {name}" for name in asked) for node in nodes) or "nothing"
        raise UserError(where, f"{said} of one machine", f"at most what one has ({there})")


def line(error: BaseException) -> str:
    """What Ray raised, in a line."""
    error = getattr(error, "cause", None) or error
    text = [each.strip() for each in str(error).splitlines() if each.strip()]
    return text[0] if text else type(error).__name__
