"""Public data sets whose columns are known: the options of `DataSet` that read them.

docs/own-data.md has where each was looked up. `question`, `answer` and the split `test` need no
entry where they are named so.
"""

from typing import Any


def _columns(images: str, choices: str, task: str = "", item: str = "", **more: str) -> Any:
    named = {"images": images, "choices": choices, "task": task, "id": item, **more}
    return {key: column for key, column in named.items() if column}


_RAW = "data.zip/data/raw/MindCube"
PRESETS: dict[str, dict[str, Any]] = {
    "array/SAT-v2": {
        "columns": _columns("images", "answers", "question_type", answer="correct_answer"),
        "train": "train",
        "answer": "choice",
        "shuffle": True,  # its first choice is always right
        # The two splits name two of the tasks differently.
        "select": {
            "ego_movement": ["ego_movement", "action_sequence"],
            "action_conseq": ["action_conseq", "action_consequence"],
            **{name: name for name in ("obj_movement", "goal_aim", "perspective", "other")},
        },
    },
    "nyu-visionx/CV-Bench": {
        "columns": _columns("image", "choices", "task", "idx", prompt="prompt"),
        "eval": "test_*.parquet",
        "answer": "letter",
    },
    "FlagEval/EmbSpatial-Bench": {
        "columns": _columns("image", "answer_options", "relation", "question_id"),
        "answer": "index",
    },
    "RunsenXu/MMSI-Bench": {
        "columns": _columns("images", "question", "question_type", "id"),
        "eval": "MMSI_Bench.parquet",
        "answer": "letter",
    },
    "lidingm/ViewSpatial-Bench": {
        "columns": _columns("image_path", "choices", "question_type"),
        "eval": "ViewSpatial-Bench.json",
        "answer": "letter",
    },
    "MLL-Lab/MindCube": {
        "columns": _columns("images", "question", "id", "id", answer="gt_answer"),
        "train": f"{_RAW}_train.jsonl",
        "eval": f"{_RAW}_tinybench.jsonl",
        "answer": "letter",
        "select": {"among": "among*", "around": "around*", "rotation": "rotation*"},
    },
    "pangyyyyy/OmniSpatial": {
        "columns": _columns("image_path", "options", "sub_task_type", "id", answer="gt"),
        "answer": "letter",
    },
    "jasonzhango/SPAR-Bench": {
        "columns": _columns("image", "question", "task", "id"),
        "answer": "number",
        # Not view_change_infer: no measure here scores a list of movements.
        "select": ["*_oo", "*_oc", "*_mv", "position_matching", "camera_motion_infer"],
    },
    "Lin-Chen/MMStar": {
        "columns": _columns("image", "question", "category", "index"),
        "eval": "mmstar.parquet",
        "answer": "letter",
    },
    "lmms-lab-eval/MMVP": {
        "columns": _columns(
            *("image", "Options"), item="Index", question="Question", answer="Correct Answer"
        ),
        "eval": "train",
        "answer": "letter",
    },
}
