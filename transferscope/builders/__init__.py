"""Training items for BLINK's tasks, from the data sets that the benchmark was made of.

    record.py         Candidate, Made, Skip, Unusable, Builder
    source_files.py   a data set's folder, its annotation files and images
    markers.py        the benchmark's sizes; circled points and boxes, with letters
    camera.py         the angle by which a camera moved around an object
    prompts.py        the benchmark's wording
    leaks.py          images that are in the evaluation split too
    build.py          picks, makes, balances, resumes
    suite_folder.py   the files that a build writes
    TASK.py           one builder for each task

What a task's module holds, `relative_depth` being the model for all:

- a docstring that names the files it looks for, their content and its source; the task's part of
  `docs/datasets.md` has our choices and what is known of an overlap with the benchmark, whose own
  split is never read;
- `candidates` and `make` (`record.Builder`). A damaged line is a `Skip`, a missing or unreadable
  annotation file a `DataError` (`source_files.find`, `json_of`, ...). File names go
  through `within` or `located`, images through `open_picture`, the wording through `prompts`;
- `BUILDER`, a `Builder`, and a line in `BUILDERS` below.

It writes nothing, and does not balance, shuffle items, or look for leaks: `build` does.
"""

from transferscope.builders import (
    art_style,
    counting,
    forensic_detection,
    functional_correspondence,
    jigsaw,
    multi_view_reasoning,
    object_localization,
    relative_depth,
    relative_reflectance,
    semantic_correspondence,
    spatial_relation,
    visual_correspondence,
    visual_similarity,
)
from transferscope.builders.record import Builder

BUILDERS: dict[str, Builder] = {
    "Art_Style": art_style.BUILDER,
    "Counting": counting.BUILDER,
    "Forensic_Detection": forensic_detection.BUILDER,
    "Functional_Correspondence": functional_correspondence.BUILDER,
    "Jigsaw": jigsaw.BUILDER,
    "Multi-view_Reasoning": multi_view_reasoning.BUILDER,
    "Object_Localization": object_localization.BUILDER,
    "Relative_Depth": relative_depth.BUILDER,
    "Relative_Reflectance": relative_reflectance.BUILDER,
    "Semantic_Correspondence": semantic_correspondence.BUILDER,
    "Spatial_Relation": spatial_relation.BUILDER,
    "Visual_Correspondence": visual_correspondence.BUILDER,
    "Visual_Similarity": visual_similarity.BUILDER,
}
"""How the items of each task are made."""
