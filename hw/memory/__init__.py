"""The memories that boards have behind the AXI4 port."""
