"""The Verilated accelerator as a shared object that `sw.device.sim` opens."""
