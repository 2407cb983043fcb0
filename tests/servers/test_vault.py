"""Who the bench's server is, kept in secret."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rig.errors import BenchError
from rig.servers.vault import IDENTITY, PAIRS, bench_folder, open_vault

pytestmark = pytest.mark.anyio


async def test_it_is_the_same_server_the_next_time_and_nobody_else_reads_it(tmp_path: Path) -> None:
    first = await open_vault(tmp_path / "v")
    again = await open_vault(tmp_path / "v")
    assert first.identity.peer_id == again.identity.peer_id
    assert stat.S_IMODE((tmp_path / "v" / IDENTITY).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "v").stat().st_mode) == 0o700
    assert first.identity.private_b64u not in repr(first)


async def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    await open_vault(tmp_path)
    (tmp_path / IDENTITY).chmod(0o644)
    with pytest.raises(BenchError, match="others than its owner") as told:
        await open_vault(tmp_path)
    assert "chmod 600" in (told.value.hint or "")


@pytest.mark.parametrize(("name", "data"), [(IDENTITY, b"short"), (PAIRS, b"{no json")])
async def test_a_damaged_store_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / name).chmod(0o600)
    with pytest.raises(BenchError, match="cannot be used: it is damaged"):
        await open_vault(tmp_path)


def test_each_bench_has_its_own(tmp_path: Path) -> None:
    folders = {
        bench_folder(tmp_path, bench) for bench in (None, tmp_path / "a.toml", tmp_path / "b.toml")
    }
    assert len(folders) == 3
    assert bench_folder(tmp_path, None) == bench_folder(tmp_path, None)


async def test_no_repr_of_what_it_is_made_of_shows_a_key(tmp_path: Path) -> None:
    """`pytest -l` shows the local variables of each frame, aiosendspin's too."""
    vault = await open_vault(tmp_path / "v")
    shown = repr(vault.identity) + repr(vars(vault.store))
    assert repr(vault.identity.private_bytes)[2:-1] not in shown
    assert "Identity" in shown


async def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    await open_vault(tmp_path / "v")
    (tmp_path / "v").chmod(0o777)
    with pytest.raises(BenchError, match="not a folder that you alone"):
        await open_vault(tmp_path / "v")


async def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "v").symlink_to(tmp_path / "theirs")
    with pytest.raises(BenchError, match="not a folder that you alone"):
        await open_vault(tmp_path / "v")
    (tmp_path / "w").mkdir(mode=0o700)
    (tmp_path / "w" / IDENTITY).symlink_to(tmp_path / "known")
    with pytest.raises(BenchError, match="is a link"):
        await open_vault(tmp_path / "w")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
async def test_another_users_key_is_refused(tmp_path: Path) -> None:
    await open_vault(tmp_path / "v")
    os.chown(tmp_path / "v" / IDENTITY, 65534, 65534)
    with pytest.raises(BenchError, match="another user's"):
        await open_vault(tmp_path / "v")
