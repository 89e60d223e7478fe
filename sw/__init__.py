"""What a host runs: compiler, packing, device transports, driver, command line."""
