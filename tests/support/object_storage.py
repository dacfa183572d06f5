"""An S3-compatible server on this machine, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from urllib.request import Request, urlopen

import pytest

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@contextmanager
def serving(bucket: str) -> Iterator[dict[str, str]]:
    """Run a server with an empty bucket; yield the variables that clients need."""
    if find_spec("moto") is None or find_spec("flask") is None:
        pytest.skip("moto and flask are not installed")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVER], **pipes) as server:  # type: ignore[call-overload]
        try:
            host, port = server.stdout.readline().split()
            address = f"http://{host}:{port}"
            urlopen(Request(f"{address}/{bucket}", method="PUT"), timeout=10).close()
            yield {
                "AWS_ENDPOINT_URL": address,
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "anybody",
                "AWS_SECRET_ACCESS_KEY": "anything",
            }
        finally:
            server.kill()
