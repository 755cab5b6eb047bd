"""For tests of flows."""
