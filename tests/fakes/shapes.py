"""Names and shapes of published files, as far as they tell what a file holds."""

TEXT = {
    "model.embed_tokens.weight": (151936, 2560),
    **{f"model.layers.{i}.x": (1,) for i in range(36)},
    "model.layers.0.self_attn.q_norm.weight": (128,),
    "model.layers.0.self_attn.q_proj.weight": (4096, 2560),
    "model.layers.0.self_attn.k_proj.weight": (1024, 2560),
    "model.layers.0.mlp.gate_proj.weight": (9728, 2560),
}
"""Qwen3-4B."""
