"""Tests of what drives simulations."""
