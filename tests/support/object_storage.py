"""Servers of object storage on this machine, each in a process of its own; skipped where they are not installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tests.support.ports import free_port

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


@contextmanager
def serving_azure() -> Iterator[dict[str, str]]:
    """Run Azurite, Microsoft's emulator (`npm install --global azurite`), with an account; yield its variables."""
    key = base64.b64encode(b"anything").decode()
    port = free_port()
    arguments = ["--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    with _running("azurite-blob", arguments, {"AZURITE_ACCOUNTS": f"films:{key}"}, f"http://127.0.0.1:{port}/"):
        yield {
            "AZURE_STORAGE_ACCOUNT_NAME": "films",
            "AZURE_STORAGE_ACCOUNT_KEY": key,
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}",
        }


@contextmanager
def serving_google(bucket: str) -> Iterator[dict[str, str]]:
    """Run fake-gcs-server (github.com/fsouza/fake-gcs-server) with an empty bucket; yield its variables."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    arguments = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    arguments += ["-public-host", f"127.0.0.1:{port}", "-external-url", address]
    with _running("fake-gcs-server", arguments, {}, f"{address}/storage/v1/b"):
        body, kind = json.dumps({"name": bucket}).encode(), {"Content-Type": "application/json"}
        urlopen(Request(f"{address}/storage/v1/b?project=films", body, kind), timeout=10).close()
        yield {"GOOGLE_BASE_URL": address, "GOOGLE_SKIP_SIGNATURE": "true"}


@contextmanager
def _running(program: str, arguments: list[str], variables: dict[str, str], address: str) -> Iterator[None]:
    """Run a server until the end of the block, which begins when it answers."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([found, *arguments], env={**os.environ, **variables}, **quiet) as server:
        try:
            deadline = time.monotonic() + 30
            while not _answers(address):
                assert server.poll() is None, f"{program} ended"
                assert time.monotonic() < deadline, f"{program} does not answer"
                time.sleep(0.1)
            yield
        finally:
            server.kill()


def _answers(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except URLError as error:
        return hasattr(error, "code")
    except OSError:
        return False
    return True
