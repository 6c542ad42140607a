"""Training items for BLINK's tasks, from the data sets that the benchmark was made of.

    record.py         Candidate, Made, Skip, Unusable, TaskModule, Builder
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
- `candidates` and `make` (`record.TaskModule`). A damaged line is a `Skip`, a missing or unreadable
  annotation file a `DataError` (`source_files.find`, `json_of`, ...). File names go
  through `within` or `located`, images through `open_source`, the wording through `prompts`.

It has an entry in `BUILDERS` below. It writes nothing, and does not balance, shuffle items, or look
for leaks: `build` does.
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
    "Art_Style": Builder(
        art_style,
        "WikiArt",
        2,
        "wikiart_csv/style_train.csv, wikiart_csv/style_class.txt, wikiart/*/*.jpg",
    ),
    "Counting": Builder(counting, "TallyQA", 4, "train.json, VG_100K/*.jpg, VG_100K_2/*.jpg"),
    "Forensic_Detection": Builder(
        forensic_detection, "real and generated photographs of your own", 4, "manifest.csv"
    ),
    "Functional_Correspondence": Builder(
        functional_correspondence,
        "FunKPoint",
        4,
        "annotations.jsonl, annotations.csv, or ACTION/references.csv and tests.csv",
    ),
    "Jigsaw": Builder(jigsaw, "TARA", 2, "input/train.jsonl, images/*.jpg"),
    "Multi-view_Reasoning": Builder(
        multi_view_reasoning,
        "Wild6D",
        2,
        "CATEGORY/*/*/images/*.jpg, CATEGORY/*/*/images/*-mask.png, CATEGORY/*/*/metadata",
    ),
    "Object_Localization": Builder(
        object_localization, "LVIS v1", 2, "lvis_v1_train.json, train2017/*.jpg"
    ),
    "Relative_Depth": Builder(
        relative_depth,
        "Depth in the Wild (DIW)",
        2,
        "DIW_Annotations/DIW_train_val.csv, DIW_train_val/*.thumb",
    ),
    "Relative_Reflectance": Builder(
        relative_reflectance, "Intrinsic Images in the Wild (IIW)", 3, "data/*.json, data/*.png"
    ),
    "Semantic_Correspondence": Builder(
        semantic_correspondence,
        "SPair-71k",
        4,
        "PairAnnotation/trn/*.json, JPEGImages/CATEGORY/*.jpg",
    ),
    "Spatial_Relation": Builder(
        spatial_relation,
        "Visual Spatial Reasoning (VSR)",
        2,
        "data/splits/random/train.jsonl, data/splits/random/test.jsonl, data/images/*.jpg",
    ),
    "Visual_Correspondence": Builder(
        visual_correspondence,
        "HPatches",
        4,
        "hpatches-sequences-release/[iv]_*/1.ppm .. 6.ppm and H_1_2 .. H_1_6",
    ),
    "Visual_Similarity": Builder(
        visual_similarity, "NIGHTS", 2, "data.csv, ref/*/*.png, distort/*/*.png"
    ),
}
"""How the items of each task are made."""
