"""What is played."""

from __future__ import annotations

import wave
from array import array
from itertools import pairwise
from pathlib import Path

import pytest

from rig.errors import BenchError
from rig.servers.audio import FRAME, RATE, AudioFile, Tone


def test_a_tone_goes_on_where_its_last_part_ended() -> None:
    whole, parts = Tone(440), Tone(440)
    assert whole.read(3 * RATE + 200) == b"".join(
        parts.read(n) for n in (120, RATE - 1, 2 * RATE + 81)
    )


def test_a_tone_is_what_it_says() -> None:
    samples = array("h", Tone(1000).read(RATE))
    left, right = samples[::2], samples[1::2]
    assert left == right
    assert sum(a < 0 <= b for a, b in pairwise(left)) in (999, 1000)
    assert max(left) == 8192


def test_hiss_differs_in_each_channel_and_is_the_same_each_time() -> None:
    samples = array("h", Tone(440, hiss=True).read(100))
    assert samples[::2] != samples[1::2]
    assert samples.tobytes() == Tone(440, hiss=True).read(100)


def test_nobody_hears_a_tone_of_five_hertz() -> None:
    with pytest.raises(BenchError, match="5 Hz"):
        Tone(5)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(array("h", [1000] * 4_800).tobytes())
    return path


def test_a_file_is_resampled_and_begins_anew_at_its_end(wav: Path) -> None:
    source = AudioFile(wav)
    data = source.read(3 * RATE)
    assert len(data) == 3 * RATE * FRAME
    assert array("h", data)[20_000] == pytest.approx(1000, abs=60)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"missing\.wav"):
        AudioFile(tmp_path / "missing.wav")
    junk = tmp_path / "junk.mp3"
    junk.write_bytes(b"no sound at all" * 100)
    with pytest.raises(BenchError, match=r"junk\.mp3"):
        AudioFile(junk)
