"""Which pack may do what: the operator's file, grants, reloading."""
