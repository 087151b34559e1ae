#!/usr/bin/env python3
"""Writes the 8 kHz weights of Silero VAD as little-endian f32 in the order the Rust pass reads them.

    extract_weights.py silero_vad.onnx pipeline/models

Needs the Python packages onnx and numpy. The model file is the one bundled in the crate `silero` 0.7.0.
"""
import hashlib
import pathlib
import sys

import numpy as np
import onnx
from onnx import numpy_helper

MODEL_SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
# Order and shapes of the file; the short-time Fourier basis is left out because it equals its formula.
LAYERS = [
    ("encoder.0.reparam_conv.weight", (128, 65, 3)),
    ("encoder.0.reparam_conv.bias", (128,)),
    ("encoder.1.reparam_conv.weight", (64, 128, 3)),
    ("encoder.1.reparam_conv.bias", (64,)),
    ("encoder.2.reparam_conv.weight", (64, 64, 3)),
    ("encoder.2.reparam_conv.bias", (64,)),
    ("encoder.3.reparam_conv.weight", (128, 64, 3)),
    ("encoder.3.reparam_conv.bias", (128,)),
    ("decoder.rnn.weight_ih", (512, 128)),
    ("decoder.rnn.weight_hh", (512, 128)),
    ("decoder.rnn.bias_ih", (512,)),
    ("decoder.rnn.bias_hh", (512,)),
    ("decoder.decoder.2.weight", (1, 128, 1)),
    ("decoder.decoder.2.bias", (1,)),
]


def graphs(graph):
    """The graph and all graphs nested in its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def narrowband(model):
    """The else branch of `If(sr == 16000)`."""
    for node in model.graph.node:
        if node.op_type == "If":
            return next(a.g for a in node.attribute if a.name == "else_branch")
    sys.exit("no If node: not the expected model")


def main():
    source, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    data = source.read_bytes()
    if hashlib.sha256(data).hexdigest() != MODEL_SHA256:
        sys.exit("not the expected model file")
    found = {}
    for graph in graphs(narrowband(onnx.load_from_string(data))):
        for node in graph.node:
            if node.op_type != "Constant":
                continue
            for name, shape in LAYERS:
                if node.output[0].endswith(name):
                    value = next(a.t for a in node.attribute if a.name == "value")
                    array = numpy_helper.to_array(value)
                    assert array.shape == shape and array.dtype == np.float32, (name, array.shape)
                    assert name not in found or np.array_equal(found[name], array), name
                    found[name] = array
    packed = b"".join(found[name].astype("<f4").tobytes() for name, _ in LAYERS)
    assert len(packed) == 876_036
    name = "silero_vad_8k.f32"
    (target / name).write_bytes(packed)
    (target / f"{name}.sha256").write_text(f"{hashlib.sha256(packed).hexdigest()}  {name}\n")


main()
