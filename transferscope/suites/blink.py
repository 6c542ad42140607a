"""BLINK: the 13 perception tasks of the paper.

Names are the benchmark's configuration names; level and granularity are the paper's Table 2; the
number of items is that of the validation split, on which the paper evaluates. `IQ_Test`, the
benchmark's fourteenth task, has no training set and is left out, as in the paper.
"""

from transferscope.suite import Task

BLINK: tuple[Task, ...] = (
    Task("Art_Style", "AS", "mid", "image", 117),
    Task("Counting", "CN", "high", "image", 120),
    Task("Forensic_Detection", "FD", "high", "image", 132),
    Task("Functional_Correspondence", "FC", "high", "pixel", 130),
    Task("Jigsaw", "JG", "mid", "crop", 150),
    Task("Multi-view_Reasoning", "MR", "mid", "image", 133),
    Task("Object_Localization", "OL", "high", "crop", 122),
    Task("Relative_Depth", "RD", "low", "pixel", 124),
    Task("Relative_Reflectance", "RR", "low", "pixel", 134),
    Task("Semantic_Correspondence", "SC", "high", "pixel", 139),
    Task("Spatial_Relation", "SR", "mid", "image", 143),
    Task("Visual_Correspondence", "VC", "low", "pixel", 172),
    Task("Visual_Similarity", "VS", "high", "image", 135),
)
