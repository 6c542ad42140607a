"""Many LoRA adapters over one frozen base: the layer, training, scoring."""
