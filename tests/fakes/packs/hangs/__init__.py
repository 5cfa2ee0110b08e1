"""A pack that never finishes importing."""

import threading

threading.Event().wait()
