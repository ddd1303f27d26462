"""Workers are started with what their parent was told, and the port is held for all of them."""

import argparse
import socket
import sys
from pathlib import Path

import pytest

from fairlead import config as cfg
from fairlead.cli import serve
from fairlead.cli.workers import reserve_port, worker_command
from fairlead.errors import StorageError


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_parser(parser.add_subparsers())
    return parser.parse_args(["serve", *words])


def parsed(command: list[str]) -> argparse.Namespace:
    """What a worker reads from its command line."""
    assert command[:3] == [sys.executable, "-m", "fairlead"]
    return arguments(*command[4:])


def test_a_worker_gets_its_parents_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text("{}")
    parent = arguments("--config", "gateway.yaml", "--state", "s", "--host", "::1", "--workers", "4")
    worker = parsed(worker_command(parent, "2/4/abc", 7, 8, 9000))
    assert (worker.worker, worker.workers, worker.ready_fd, worker.parent_fd) == ("2/4/abc", 1, 7, 8)
    assert (worker.host, worker.port, worker.state) == ("::1", 9000, "s")
    assert worker.config == str(tmp_path / "gateway.yaml")


def test_without_a_file_a_worker_detects_as_its_parent_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAIRLEAD_CONFIG", raising=False)
    worker = parsed(worker_command(arguments(), "0/2/abc", 7, 8, 9000))
    assert (worker.config, worker.state, worker.host) == (None, None, None)


def test_the_port_is_held_without_listening_and_others_may_share_it() -> None:
    held, port = reserve_port(cfg.Server(port=0))
    try:
        assert port > 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        again, same = reserve_port(cfg.Server(port=port))
        again.close()
        assert same == port
    finally:
        held.close()


def test_a_port_that_is_taken_is_told_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StorageError, match=f"127.0.0.1:{port}") as caught:
            reserve_port(cfg.Server(port=port))
        assert caught.value.hint is not None
        assert "--port" in caught.value.hint
