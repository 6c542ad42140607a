"""Public data sets whose columns are known: the options of `DataSet` that read them.

docs/own-data.md names where each was looked up.
"""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "array/SAT-v2": {
        "columns": {
            "images": "images",
            "choices": "answers",
            "answer": "correct_answer",
            "task": "question_type",
        },
        "train": "train",
        "answer": "choice",
    },
    "nyu-visionx/CV-Bench": {
        "columns": {"images": "image", "choices": "choices", "task": "task", "id": "idx"},
        "eval": "test_*.parquet",
        "answer": "letter",
    },
    "FlagEval/EmbSpatial-Bench": {
        "columns": {
            "images": "image",
            "choices": "answer_options",
            "task": "relation",
            "id": "question_id",
        },
        "answer": "index",
    },
    "RunsenXu/MMSI-Bench": {
        "columns": {
            "images": "images",
            "choices": "question",
            "task": "question_type",
            "id": "id",
        },
        "eval": "MMSI_Bench.parquet",
        "answer": "letter",
    },
    "lidingm/ViewSpatial-Bench": {
        "columns": {"images": "image_path", "choices": "choices", "task": "question_type"},
        "eval": "ViewSpatial-Bench.json",
        "answer": "letter",
    },
    "MLL-Lab/MindCube": {
        "columns": {
            "images": "images",
            "choices": "question",
            "answer": "gt_answer",
            "task": "id",
            "id": "id",
        },
        "train": "data.zip/data/raw/MindCube_train.jsonl",
        "eval": "data.zip/data/raw/MindCube_tinybench.jsonl",
        "answer": "letter",
        "select": {"among": "among*", "around": "around*", "rotation": "rotation*"},
    },
    "pangyyyyy/OmniSpatial": {
        "columns": {
            "images": "image_path",
            "choices": "options",
            "answer": "gt",
            "task": "sub_task_type",
            "id": "id",
        },
        "answer": "letter",
    },
    "jasonzhango/SPAR-Bench": {
        "columns": {"images": "image", "choices": "question", "task": "task", "id": "id"},
        "answer": "number",
        # view_change_infer is answered by a list of movements, which no measure here scores.
        "select": ["*_oo", "*_oc", "*_mv", "position_matching", "camera_motion_infer"],
    },
    "Lin-Chen/MMStar": {
        "columns": {"images": "image", "choices": "question", "task": "category", "id": "index"},
        "eval": "mmstar.parquet",
        "answer": "letter",
    },
    "lmms-lab-eval/MMVP": {
        "columns": {
            "images": "image",
            "question": "Question",
            "choices": "Options",
            "answer": "Correct Answer",
            "id": "Index",
        },
        "eval": "train",
        "answer": "letter",
    },
}
"""Columns named `question` and `answer`, and the split `test`, are what `DataSet` expects."""
