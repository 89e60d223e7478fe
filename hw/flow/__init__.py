"""From RTL to area and clock: synthesis, place and route with open tools."""
