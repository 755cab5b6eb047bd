"""Names where flows written for Orion look for them."""
