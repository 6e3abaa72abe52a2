"""Speech from espeak-ng's shared library, in a process of its own: `speak` runs this file as a child.

The library carries the state of its voices from one utterance to the next, so only a fresh process says the same list
of utterances twice with the same samples. It is called through its C interface and never copied.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 22050
"""The library's own rate."""

_SYNCHRONOUS, _KEEP_PROCESS, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH = 1, 3
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Utterance:
    """Something to say.

    Attributes:
        text: what; a digit is read in the voice's language.
        voice: espeak-ng's voice: a language, and after a plus sign a speaker, such as `de+f3`.
        words_per_minute: speed, 80 to 450.
        pitch: 0 to 100.
    """

    text: str
    voice: str
    words_per_minute: int
    pitch: int


class SpeechError(RuntimeError):
    """The library could not say something."""


def speak(utterances: Sequence[Utterance]) -> list[NDArray[np.int16]]:
    """Return the samples of each utterance, int16 `(samples,)` at `SAMPLE_RATE_HZ`; equal lists give equal samples.

    Raises:
        SpeechError: the child process failed; the message holds what it said.
    """
    request = json.dumps([asdict(utterance) for utterance in utterances]).encode()
    child = subprocess.run(
        [sys.executable, __file__], input=request, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if child.returncode:
        raise SpeechError(f"espeak-ng failed with code {child.returncode}: {child.stderr.decode(errors='replace')}")
    with np.load(io.BytesIO(child.stdout)) as archive:
        samples, ends = archive["samples"], archive["ends"]
    return np.split(samples, ends[:-1])


class _Speaker:
    """The library, initialised once in this process."""

    def __init__(self, data_path: Path) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._receive)
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(data_path).encode(), _KEEP_PROCESS)
        if rate != SAMPLE_RATE_HZ:
            raise SpeechError(f"espeak_Initialize answered {rate} instead of {SAMPLE_RATE_HZ} for {data_path}")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # of breath; the library takes the time otherwise

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, utterance: Utterance) -> NDArray[np.int16]:
        """Return the samples of an utterance."""
        self._chunks.clear()
        if self._library.espeak_SetVoiceByName(utterance.voice.encode()):
            raise SpeechError(f"there is no voice {utterance.voice!r}")
        self._library.espeak_SetParameter(_RATE, utterance.words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
        text = utterance.text.encode()
        code = self._library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
        if code or not self._chunks:
            raise SpeechError(f"{utterance} gave no sound (code {code})")
        return np.concatenate(self._chunks)


def _main() -> None:
    import espeakng_loader

    utterances = [Utterance(**fields) for fields in json.load(sys.stdin)]
    with tempfile.TemporaryDirectory() as folder:
        # The library keeps its data path in 160 bytes; a link from a short one serves an environment of any depth.
        data_path = Path(folder) / "espeak-ng-data"
        data_path.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
        speaker = _Speaker(data_path)
        spoken = [speaker.say(utterance) for utterance in utterances]
    buffer = io.BytesIO()
    np.savez(buffer, samples=np.concatenate(spoken), ends=np.cumsum([len(samples) for samples in spoken]))
    sys.stdout.buffer.write(buffer.getvalue())


if __name__ == "__main__":
    _main()
