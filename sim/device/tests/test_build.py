"""What a shared object is built again for."""

from amaranth.hdl import Module
from amaranth.lib import wiring

from golden.spec.config import MICRO
from sim.device import build


class Nothing(wiring.Component):
    """No hardware."""

    def __init__(self):
        super().__init__({})

    def elaborate(self, platform):
        return Module()


def test_built_again_only_where_the_hardware_differs(tmp_path, monkeypatch):
    """Sources that make the same Verilog, and C++ that is the same, make the same object; a build that failed makes none."""
    source, hardware, library = tmp_path / "device.cpp", tmp_path / "block.py", tmp_path / "libdevice.so"
    source.write_text("C++"), hardware.write_text("Python")
    verilog, built = ["a"], []

    def verilate(library, *_):
        if verilog[0] == "bad":
            raise RuntimeError
        built.append(verilog[0])
        library.touch()

    def made():
        try:
            build.build_object(library, "block", Nothing, MICRO, source, [hardware])
        except RuntimeError:
            built.append("failed")
        return "".join(built)

    monkeypatch.setattr(build, "verilate", verilate)
    monkeypatch.setattr(build, "to_verilog", lambda *_: verilog[0])
    assert made() == made() == "a"
    hardware.write_text("other Python, the same Verilog")
    assert made() == made() == "a"
    hardware.write_text("other Verilog"), verilog.__setitem__(0, "b")
    assert made() == "ab"
    source.write_text("other C++")
    assert made() == "abb"
    hardware.write_text("a mistake"), verilog.__setitem__(0, "bad")
    assert made() == "abbfailed" and made() == "abbfailedfailed"
    verilog[0] = "b"
    assert made() == "abbfailedfailedb"
    library.unlink()
    assert made() == "abbfailedfailedbb"
