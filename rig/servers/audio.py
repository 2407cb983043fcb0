"""What is played: a generated tone or a file, as 48 kHz stereo samples of 16 bit."""

from __future__ import annotations

import itertools
import math
import random
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from rig.errors import BenchError

RATE: Final = 48_000
"""Frames a second."""
FRAME: Final = 4
"""Bytes of a frame: two samples of 16 bit, little-endian."""


class Source(Protocol):
    """Endless audio."""

    def read(self, frames: int) -> bytes:
        """The next so many frames."""
        ...


class Tone:
    """A sine at -12 dB, both channels alike; `hertz` is rounded to a whole number.

    With `hiss`, noise at -18 dB is added, different in each channel: it compresses as music does,
    where a pure tone shrinks to nothing.
    """

    def __init__(self, hertz: float = 440.0, *, hiss: bool = False) -> None:
        """Raises `BenchError` for what nobody hears (20 to 20000 Hz)."""
        noise: Callable[[int], int] = (
            random.Random(round(hertz)).randrange if hiss else (lambda _end: 2048)
        )
        if not 20 <= hertz <= 20_000:
            raise BenchError(f"a tone of {hertz:g} Hz is not heard", hint="20 to 20000 Hz")
        whole = round(hertz)
        samples = array("h")
        for n in range(RATE):
            value = round(8192 * math.sin(2 * math.pi * whole * n / RATE))
            samples.extend((value + noise(4096) - 2048, value + noise(4096) - 2048))
        self._second = samples.tobytes()  # whole cycles: the end joins the beginning
        self._at = 0

    def read(self, frames: int) -> bytes:
        """The next frames: without a seam."""
        wanted = frames * FRAME
        data = self._second[self._at : self._at + wanted]
        while len(data) < wanted:
            data += self._second[: wanted - len(data)]
        self._at = (self._at + wanted) % len(self._second)
        return data


class AudioFile:
    """A file that FFmpeg reads (through PyAV), again and again."""

    def __init__(self, path: Path) -> None:
        """Decodes the beginning, so that a wrong file is found at once. Raises `BenchError`."""
        self.path = path
        self._left = b""
        self._samples = self._endless()
        self._left = next(self._samples)

    def read(self, frames: int) -> bytes:
        """The next frames; the file begins anew at its end. Raises `BenchError`."""
        wanted = frames * FRAME
        parts, size = [self._left], len(self._left)
        while size < wanted:
            parts.append(next(self._samples))
            size += len(parts[-1])
        data = b"".join(parts)
        self._left = data[wanted:]
        return data[:wanted]

    def _endless(self) -> Iterator[bytes]:
        for turn in itertools.count():
            empty = True
            for samples in self._once():
                empty = False
                yield samples
            if empty:
                raise self._wrong("there is no sound in it" if not turn else "it is empty now")

    def _once(self) -> Iterator[bytes]:
        try:
            import av
        except ImportError as error:
            raise BenchError(
                f"playing a file needs PyAV: {error}", hint="pip install 'sendspin-rig[reference]'"
            ) from error
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.audio:
                    return
                for decoded in container.decode(audio=0):
                    for frame in resampler.resample(decoded):
                        yield bytes(frame.planes[0])[: frame.samples * FRAME]
        except (av.error.FFmpegError, OSError) as error:
            raise self._wrong(str(error)) from error

    def _wrong(self, why: str) -> BenchError:
        return BenchError(
            f"cannot play {self.path}: {why}",
            hint="name an audio file (wav, flac, mp3, ogg, ...), or --tone HZ",
        )
