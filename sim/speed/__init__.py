"""How fast the machine is: measured on the Verilated RTL, predicted by the cycle model, beside other work."""
