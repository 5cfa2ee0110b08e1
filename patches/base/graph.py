"""Names in the graph of a prompt that several parts look for."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]
"""The nodes of a prompt by id, in API format."""

LOADER = "ZImageLoader"
"""Class that loads the models of this pack."""
SAMPLERS = frozenset({"ZImageSampler", "KSampler", "KSamplerAdvanced"})
"""Classes whose nodes sample."""
