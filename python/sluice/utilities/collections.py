"""`quote`, where flows written for Orion look for it."""
from sluice.futures import quote

__all__ = ["quote"]
