"""The worker process alone: one request in, messages out, and its end with its parent's."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest
import serial
from esptool.util import FatalError

from firmware_flasher.messages import (
    LENGTH,
    Connecting,
    Failed,
    InfoRequest,
    Link,
    ResetAsked,
    ResetDone,
    Up,
    body_length,
    pack,
    unpack_up,
)
from firmware_flasher.worker import failure


@pytest.fixture
def silent() -> Iterator[str]:
    master, slave = pty.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", "firmware_flasher.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        yield process
        process.kill()


def receive(process: subprocess.Popen[bytes]) -> Up:
    assert process.stdout is not None
    return unpack_up(process.stdout.read(body_length(process.stdout.read(LENGTH.size))))


def send(process: subprocess.Popen[bytes], message: InfoRequest | ResetDone) -> None:
    assert process.stdin is not None
    process.stdin.write(pack(message))
    process.stdin.flush()


def ask(url: str, *, owner_resets: bool = False, attempts: int = 1) -> InfoRequest:
    return InfoRequest(
        Link(url, [115_200], "no-reset", "no-reset", True, attempts, owner_resets=owner_resets)
    )


def test_a_port_that_cannot_be_opened_is_reported_with_its_step(
    worker: subprocess.Popen[bytes],
) -> None:
    send(worker, ask("/dev/there-is-no-such-port"))

    assert receive(worker) == Connecting(1, 115_200)
    message = receive(worker)
    assert isinstance(message, Failed)
    assert (message.step, message.errno) == ("open", errno.ENOENT)


def test_the_owner_is_asked_for_a_reset_before_the_port_is_opened(
    worker: subprocess.Popen[bytes],
) -> None:
    send(worker, ask("/dev/there-is-no-such-port", owner_resets=True))

    while not isinstance(message := receive(worker), ResetAsked):
        assert not isinstance(message, Connecting | Failed)
    assert message.download
    send(worker, ResetDone())
    assert isinstance(receive(worker), Connecting)


def test_the_worker_ends_when_its_parent_is_gone(
    worker: subprocess.Popen[bytes], silent: str
) -> None:
    send(worker, ask(silent, attempts=100))
    assert isinstance(receive(worker), Connecting)  # it is busy with the port now

    assert worker.stdin is not None
    worker.stdin.close()

    assert worker.wait(timeout=20) == 0


def test_bytes_that_are_no_request_end_the_worker_with_an_error(
    worker: subprocess.Popen[bytes],
) -> None:
    assert worker.stdin is not None
    worker.stdin.write(LENGTH.pack(3) + b"\xc1\xc1\xc1")
    worker.stdin.flush()

    assert worker.wait(timeout=20) != 0


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (serial.SerialException(errno.EBUSY, "busy"), errno.EBUSY),
        (termios.error(errno.EIO, "Input/output error"), errno.EIO),
        (FatalError("esptool's words"), None),
    ],
)
def test_each_librarys_exceptions_become_one_message(error: Exception, number: int | None) -> None:
    message = failure("write", error)

    assert (message.step, message.errno) == ("write", number)
    assert message.text == str(error)
