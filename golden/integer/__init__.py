"""The integer golden model: NumPy integers only; it defines every bit of the machine's results."""
