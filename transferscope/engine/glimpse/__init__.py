"""Three small bases, `glimpse-s`, `glimpse-m` and `glimpse-l`, and what makes them.

Each is a real `Qwen2_5_VLForConditionalGeneration`, only small: it loads with transformers' Auto
classes, takes PEFT adapters, and runs on two CPU cores. `base` finds the shipped weights;
`python -m transferscope.engine.glimpse` made them and can make them again.
"""
