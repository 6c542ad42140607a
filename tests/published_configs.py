"""Configurations as published on the Hub, reduced to what `study.shapes` reads."""

from typing import Any

QWEN25_7B: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_chans": 3,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}
"""As published with Qwen2.5-VL-7B-Instruct."""

QWEN25_32B = QWEN25_7B | {
    "hidden_size": 5120,
    "num_hidden_layers": 64,
    "intermediate_size": 27648,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vision_config": QWEN25_7B["vision_config"]
    | {"out_hidden_size": 5120, "intermediate_size": 3456},
}
"""As published with Qwen2.5-VL-32B-Instruct, whose weights are 66.9 GB."""
