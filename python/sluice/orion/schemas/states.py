"""The states, where flows written for Orion look for them."""
from sluice.states import Cancelled, Completed, Failed, Pending, Running, Scheduled, State

__all__ = ["Cancelled", "Completed", "Failed", "Pending", "Running", "Scheduled", "State"]
