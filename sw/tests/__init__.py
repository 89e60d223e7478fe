"""Tests of compiler, driver, devices and command line."""
