"""All methods by name: ours, the profiles, and those of others."""

from collections.abc import Mapping

from benchmarks.fidelity.methods.average_pooling import AveragePooling
from benchmarks.fidelity.methods.base import Method
from benchmarks.fidelity.methods.clse import Clse
from benchmarks.fidelity.methods.fastv import FastV
from benchmarks.fidelity.methods.input_downsampling import InputDownsampling
from benchmarks.fidelity.methods.luvc import Luvc
from benchmarks.fidelity.methods.pact import Pact
from benchmarks.fidelity.methods.pyramid_drop import PyramidDrop
from benchmarks.fidelity.methods.random_choice import RandomChoice
from benchmarks.fidelity.methods.settings import profile
from benchmarks.fidelity.methods.spu_paper import SpuPaper
from benchmarks.fidelity.methods.tome_1d import Tome1D
from benchmarks.fidelity.methods.uniform_stride import UniformStride
from benchmarks.fidelity.methods.v2drop import V2Drop
from benchmarks.fidelity.methods.vtw import Vtw, VtwSearched

OWN: tuple[Method, ...] = (
    Luvc(),
    SpuPaper(),
    profile("lossless"),
    profile("balanced"),
    profile("max"),
)
PEERS: tuple[Method, ...] = (
    RandomChoice(),
    UniformStride(),
    AveragePooling(),
    InputDownsampling(),
    Tome1D(),
    FastV(),
    Vtw(),
    VtwSearched(),
    Pact(),
    PyramidDrop(),
    V2Drop(),
    Clse(),
)
METHODS: Mapping[str, Method] = {method.name: method for method in (*OWN, *PEERS)}

__all__ = ["METHODS", "OWN", "PEERS", "Method"]
