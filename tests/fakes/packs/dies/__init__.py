"""A pack that ends its process when it is imported."""

import os

print("dying now", flush=True)
os.abort()
