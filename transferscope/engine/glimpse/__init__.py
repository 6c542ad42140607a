"""Three small bases, `glimpse-s`, `glimpse-m` and `glimpse-l`, shipped with the package.

Each is a real `Qwen2_5_VLForConditionalGeneration`, only small: it loads with transformers' Auto
classes, takes PEFT adapters, and runs on two CPU cores. `tools/glimpse_bases` made them.
"""
