#!/usr/bin/env python3
"""Writes golden vectors of Silero VAD at 8 kHz, as ONNX Runtime computes them.

    golden.py silero_vad.onnx pipeline/models/golden

Needs flite and espeak-ng on the path and the Python packages onnxruntime, numpy and scipy.
Output, stream after stream: `audio.i16` (20 streams of 45 chunks of 256 samples, little-endian)
and `p.f32` (20 x 45 probabilities). Everything but the silences went through G.711 mu-law.
"""
import io
import pathlib
import subprocess
import sys
import tempfile
from math import gcd

import numpy as np
import onnxruntime
from scipy.io import wavfile
from scipy.signal import resample_poly

RATE, CHUNK, CHUNKS, CONTEXT = 8000, 256, 45, 32
LENGTH = CHUNK * CHUNKS
rng = np.random.default_rng(20)


def mulaw(x):
    """Through G.711 mu-law and back, linear 16-bit."""
    x = np.clip(np.rint(x), -32635, 32635).astype(np.int64)
    magnitude = np.abs(x) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int64) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    decoded = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(x < 0, -decoded, decoded).astype(np.int16)


def speak(engine, voice, text, level):
    """Speech at 8 kHz with 0.2 s before it, scaled to an RMS level in dBov over the whole."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        if engine == "flite":
            subprocess.run(["flite", "-voice", voice, "-t", text, "-o", file.name], check=True)
        else:
            subprocess.run(["espeak-ng", "-v", voice, "-w", file.name, text], check=True)
        rate, x = wavfile.read(io.BytesIO(pathlib.Path(file.name).read_bytes()))
    factor = gcd(rate, RATE)
    x = resample_poly(x.astype(np.float64), RATE // factor, rate // factor)
    x *= 32768 * 10 ** (level / 20) / np.sqrt(np.mean(x * x))
    return fit(np.concatenate([np.zeros(RATE // 5), x]))


def fit(x):
    return np.pad(x, (0, max(0, LENGTH - len(x))))[:LENGTH]


def noise(level):
    return rng.normal(0, 32768 * 10 ** (level / 20), LENGTH)


def tones(frequencies, level, on=LENGTH, period=LENGTH):
    t = np.arange(LENGTH)
    amplitude = 32768 * 10 ** (level / 20)
    return sum(amplitude * np.sin(2 * np.pi * f * t / RATE) for f in frequencies) * (t % period < on)


def streams():
    line = -65
    yield mulaw(speak("flite", "slt", "Yes. I would like to change my appointment, please.", -22) + noise(line))
    yield mulaw(speak("flite", "rms", "No, that is not what I meant.", -26) + noise(line))
    yield mulaw(speak("flite", "awb", "Four, seven, one, one.", -20) + noise(line))
    yield mulaw(speak("flite", "kal", "Can you tell me when the train leaves?", -24) + noise(-45))
    yield mulaw(speak("espeak-ng", "en-us+f3", "Good morning, this is a call about the invoice.", -22) + noise(line))
    yield mulaw(speak("espeak-ng", "de+m3", "Guten Tag, ich habe eine Frage zu meiner Rechnung.", -25) + noise(line))
    yield mulaw(speak("espeak-ng", "fr+f1", "Bonjour, je voudrais parler à quelqu'un.", -28) + noise(-38))
    yield mulaw(speak("espeak-ng", "es+m1", "Sí. No. Tal vez mañana por la tarde.", -20) + noise(line))
    yield mulaw(speak("flite", "slt", "Very quiet words from far away.", -48))
    yield mulaw(speak("flite", "rms", "Words in strong noise are hard to hear.", -25) + noise(-35))
    yield mulaw(10 * speak("flite", "kal", "This one is badly clipped.", -15))
    yield mulaw(speak("flite", "slt", "Talking over a ringing phone.", -24) + tones([440, 480], -30))
    yield mulaw(noise(-30))
    yield mulaw(noise(-50))
    yield mulaw(tones([697, 1209], -16, 800, 1600))
    yield mulaw(tones([440, 480], -20))
    yield mulaw(tones([1000], -12, 2000, 3000))
    yield np.where(np.arange(LENGTH) % 37 < 19, 32767, -32768).astype(np.int16)
    yield np.zeros(LENGTH, np.int16)
    burst = np.zeros(LENGTH, np.int16)
    burst[2000:6000] = mulaw(fit(speak("espeak-ng", "en-us", "Hello?", -20)))[1600:5600]
    yield burst


def main():
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    target = pathlib.Path(sys.argv[2])
    audio = np.stack(list(streams()))
    state = np.zeros((2, len(audio), 128), np.float32)
    context = np.zeros((len(audio), CONTEXT), np.float32)
    columns = []
    for n in range(CHUNKS):
        chunk = audio[:, n * CHUNK:(n + 1) * CHUNK].astype(np.float32) / 32768
        window = np.concatenate([context, chunk], axis=1)
        p, state = session.run(None, {"input": window, "state": state, "sr": np.array(RATE, np.int64)})
        context = chunk[:, -CONTEXT:]
        columns.append(p[:, 0])
    p = np.stack(columns, axis=1)
    (target / "audio.i16").write_bytes(audio.astype("<i2").tobytes())
    (target / "p.f32").write_bytes(p.astype("<f4").tobytes())
    for row in p:
        print(f"max {row.max():.3f}  share above 0.5 {np.mean(row >= 0.5):.2f}")


main()
