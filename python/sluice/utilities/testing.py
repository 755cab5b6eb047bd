"""The test harness, where flows written for Orion look for it."""
from sluice.testing.utilities import prefect_test_harness, sluice_test_harness

__all__ = ["prefect_test_harness", "sluice_test_harness"]
