"""Rules for prompts: refused characters, cleaning, Chinese spans, tags. Needs no torch."""
