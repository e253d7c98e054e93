"""Servers of a test's own, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def deaf() -> Iterator[str]:
    """A server that takes connections and never answers, by host and port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def running(command: list[str], url: str, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """The server of a command, which answers at `url`, while the block runs."""
    with tempfile.NamedTemporaryFile() as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 90
            while True:
                with suppress(OSError), urllib.request.urlopen(url, timeout=2):
                    break
                assert server.poll() is None and time.monotonic() < end, Path(log.name).read_text()
                time.sleep(0.2)
            yield
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
