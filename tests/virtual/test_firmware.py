from __future__ import annotations

import hashlib
import itertools
import shutil
import socket
import struct
import subprocess
import threading
from functools import cache
from pathlib import Path

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from rig.boards.virtual.firmware import TABLE_MAGIC, AppImage, parse_app
from rig.errors import FirmwareError

BUNDLES = Path(__file__).resolve().parents[2] / "fixtures" / "firmware"
VERSIONS = ["v0.5.0", "pr57", "v0.6.1", "v0.7.0"]
CONN = "sendspin::SendspinServerConnection::"
HTTPD = ["vPortTaskWrapper", "httpd_thread", "httpd_server"]
MAIN = ["vPortTaskWrapper", "main_task", "app_main", "sendspin::SendspinClient::loop"]
FRAME = [
    *HTTPD,
    "httpd_sess_enum",
    "httpd_process_session",
    "httpd_sess_process",
    "httpd_req_new",
    "sendspin::SendspinWsServer::websocket_handler",
    f"{CONN}handle_data",
]
STACKS = [
    [*HTTPD, "httpd_process_ctrl_msg", f"{CONN}async_send_time_text"],
    [*HTTPD, "httpd_process_ctrl_msg", f"{CONN}async_send_text"],
    [*HTTPD, "httpd_process_ctrl_msg", f"{CONN}async_send_text", f"{CONN}trigger_close"],
    [
        *HTTPD,
        "httpd_process_ctrl_msg",
        f"{CONN}async_send_text",
        "sendspin::SendspinConnection::set_client_hello_sent",
    ],
    [
        *HTTPD,
        "httpd_process_ctrl_msg",
        f"{CONN}async_send_text",
        "httpd_ws_send_frame_async",
        "httpd_sess_get",
    ],
    FRAME,
    [*MAIN, "sendspin::SendspinTimeBurst::loop", f"{CONN}send_time_message"],
    [*MAIN, "sendspin::ConnectionManager::loop", "sendspin::ConnectionManager::on_connection_lost"],
]
SP = 0x3FC90000


@cache
def data(version: str) -> bytes:
    return (BUNDLES / version / "sendspin-speaker.bin").read_bytes()


@cache
def app(version: str) -> AppImage:
    return parse_app(data(version))


def stack_of(image: AppImage, chain: list[str]) -> tuple[int, int, bytes]:
    """PC, RA and the stack from SP up, when `chain` (outermost first) touches its object."""
    inner = image.functions[chain[-1]]
    returns = [image.calls[a, b] for a, b in itertools.pairwise(chain)]
    memory = b""
    for name, return_pc in zip(reversed(chain), [*reversed(returns), None], strict=True):
        function = image.functions[name]
        frame = bytearray(b"\xa5" * function.frame_size)
        if function.ra_offset is not None and return_pc is not None:
            frame[function.ra_offset : function.ra_offset + 4] = struct.pack("<I", return_pc)
        memory += frame
    return inner.touch, returns[-1], memory


def unwind(elf: ELFFile, pc: int, ra: int, memory: bytes) -> list[int]:
    """The PCs of all frames by DWARF's call frame information, innermost first."""
    fdes = [entry for entry in elf.get_dwarf_info().CFI_entries() if isinstance(entry, FDE)]
    pcs, sp = [pc], SP
    while True:
        where = pcs[-1] - (len(pcs) > 1)
        fde = next(
            f
            for f in fdes
            if f["initial_location"] <= where < f["initial_location"] + f["address_range"]
        )
        row = [line for line in fde.get_decoded().table if line["pc"] <= where][-1]
        assert row["cfa"].reg == 2
        cfa = sp + row["cfa"].offset
        rule = row.get(1)
        if rule is not None and rule.type == "UNDEFINED":
            return pcs
        if rule is not None:
            (ra,) = struct.unpack_from("<I", memory, cfa + rule.arg - SP)
        pcs.append(ra)
        sp = cfa


@pytest.mark.parametrize("version", VERSIONS)
def test_the_descriptor_names_the_version(version: str) -> None:
    descriptor = app(version).descriptor
    assert descriptor.version == version
    assert descriptor.project_name == "sendspin-speaker"
    assert descriptor.idf_version == "v5.5.4"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_descriptor_carries_the_hash_of_the_elf(version: str) -> None:
    elf = (BUNDLES / version / "sendspin-speaker.elf").read_bytes()
    assert app(version).descriptor.elf_sha256 == hashlib.sha256(elf).digest()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_touch_is_a_load_inside_its_function(version: str) -> None:
    touching = [function for function in app(version).functions.values() if function.touch]
    assert len(touching) > 20
    for function in touching:
        assert function.start <= function.touch < function.end
        assert function.load is not None
        assert function.load.base not in (0, 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_return_address_follows_a_call_in_its_caller(version: str) -> None:
    image = app(version)
    for (caller, _), return_pc in image.calls.items():
        function = image.functions[caller]
        assert function.start < return_pc <= function.end
        segment = next(s for s in image.segments if 0 <= return_pc - s.address <= len(s.data))
        before = segment.data[return_pc - segment.address - 4 : return_pc - segment.address]
        (wide,), (half,) = struct.unpack("<I", before), struct.unpack("<H", before[2:])
        links = wide & 0xFFF in (0x0EF, 0x0E7)  # jal ra, jalr ra
        compressed = half & 0xE003 == 0x2001 or (half & 0xF07F == 0x9002 and half != 0x9002)
        assert links or compressed


def test_before_57_the_workers_touch_their_connection_before_they_call_anything() -> None:
    image = app("v0.5.0")
    for name in (f"{CONN}async_send_text", f"{CONN}async_send_time_text"):
        touch = image.functions[name].touch
        assert all(pc > touch for (caller, _), pc in image.calls.items() if caller == name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("chain", STACKS, ids=lambda chain: chain[-1].rsplit("::", 1)[-1])
def test_a_stack_made_from_the_table_unwinds_by_dwarf(version: str, chain: list[str]) -> None:
    image = app(version)
    pc, ra, memory = stack_of(image, chain)
    with (BUNDLES / version / "sendspin-speaker.elf").open("rb") as file:
        pcs = unwind(ELFFile(file), pc, ra, memory)
    inside = [
        next(f.name for f in image.functions.values() if f.start <= at - (n > 0) < f.end)
        for n, at in enumerate(pcs)
    ]
    assert inside == list(reversed(chain))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_panic_in_the_deepest_chain_fits_into_the_kilobyte_that_a_dump_shows(
    version: str,
) -> None:
    assert len(stack_of(app(version), FRAME)[2]) <= 1024


def serve_gdb(server: socket.socket, registers: bytes, memory: bytes) -> None:
    """GDB's remote protocol for one client: a stopped target with registers and a stack."""
    with server, server.accept()[0] as client:
        buffer = b""
        while chunk := client.recv(4096):
            buffer += chunk
            while b"#" in buffer and len(buffer) >= buffer.index(b"#") + 3:
                end = buffer.index(b"#")
                packet = buffer[buffer.index(b"$") + 1 : end].decode()
                buffer = buffer[end + 3 :]
                answer = ""
                if packet.startswith(("H", "D")):
                    answer = "OK"
                elif packet == "?":
                    answer = "S05"
                elif packet == "qAttached":
                    answer = "1"
                elif packet == "g":
                    answer = registers.hex()
                elif packet.startswith("m"):
                    at, size = (int(word, 16) for word in packet[1:].split(","))
                    piece = memory[at - SP : at - SP + size] if at >= SP else b""
                    answer = piece.hex() or "E01"
                client.sendall(f"+${answer}#{sum(answer.encode()) % 256:02x}".encode())


@pytest.mark.parametrize("version", VERSIONS)
def test_gdb_shows_the_chain_with_source_lines(version: str) -> None:
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        pytest.skip("gdb-multiarch is not installed")
    chain = STACKS[0]
    pc, ra, memory = stack_of(app(version), chain)
    registers = struct.pack("<33I", 0, ra, SP, *[0] * 29, pc)
    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve_gdb, args=(server, registers, memory), daemon=True)
    thread.start()
    elf = BUNDLES / version / "sendspin-speaker.elf"
    target = f"target remote 127.0.0.1:{server.getsockname()[1]}"
    run = subprocess.run(
        [gdb, "-nx", "-batch", "-ex", target, "-ex", "backtrace", str(elf)],
        capture_output=True,
        text=True,
        timeout=50,
        stdin=subprocess.DEVNULL,
    )
    thread.join(5)
    frames = [line for line in run.stdout.splitlines() if line.startswith("#")]
    assert len(frames) == len(chain), run.stdout + run.stderr
    for frame, name in zip(frames, reversed(chain), strict=True):
        assert f"{name} (" in frame
        assert "/IDF/" in frame or "/COMPONENT_SENDSPIN_CPP_DIR/" in frame


def test_firmware_without_a_table_is_read_all_the_same() -> None:
    foreign = data("v0.7.0").replace(TABLE_MAGIC, b"something else..")
    assert parse_app(foreign).functions == {}
    assert parse_app(foreign).descriptor.version == "v0.7.0"


def test_a_bootloader_is_no_application() -> None:
    bootloader = (BUNDLES / "v0.7.0" / "bootloader" / "bootloader.bin").read_bytes()
    with pytest.raises(FirmwareError, match="expected descriptor magic 3254cdab"):
        parse_app(bootloader)


def test_blank_flash_is_no_image() -> None:
    with pytest.raises(FirmwareError, match="not an ESP32-C3 application"):
        parse_app(b"\xff" * 4096)


def outcome(image: bytes) -> AppImage | FirmwareError:
    try:
        return parse_app(image)
    except FirmwareError as error:
        return error


@given(st.integers(min_value=0, max_value=70_000))
def test_a_torn_image_is_refused(size: int) -> None:
    assert isinstance(outcome(data("v0.7.0")[:size]), FirmwareError)


@given(st.lists(st.tuples(st.integers(0, 9000), st.binary(min_size=1, max_size=4)), max_size=8))
def test_a_damaged_image_is_read_or_refused_but_breaks_nothing(
    damage: list[tuple[int, bytes]],
) -> None:
    image = bytearray(data("v0.7.0"))
    for at, piece in damage:
        image[at : at + len(piece)] = piece
    assert isinstance(outcome(bytes(image)), AppImage | FirmwareError)


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    assert isinstance(outcome(noise), FirmwareError)
