"""A pack whose library is not there."""

import a_library_that_nobody_has.inside  # noqa: F401

NODE_CLASS_MAPPINGS = {}
