"""Prompt rules: which characters are refused, cleaning, Chinese spans, tags. No torch."""
