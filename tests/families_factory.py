"""Tiny random checkpoints of whole families, on disk as a hub has them.

Each is a folder: `config.json`, `generation_config.json`, `model.safetensors`, the family's own
tokenizer with its special tokens, its picture settings and its chat template. The weights are
random; the shapes, the names and the files are the family's.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as hf
import yaml
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.tokenization_utils_tokenizers import TokenizersBackend

LINES = (
    "Which point is closer to the camera? Which picture is brighter, the first or the second?",
    "Select from the following choices. user assistant system User Assistant Image You are helpful",
    "(A) the first (B) the second (C) both (D) neither",
)
"""What the tokenizers are trained on."""

TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}

QWEN_TEMPLATE = """\
{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] %}{% if part['type'] == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}\
{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

SMOL_TEMPLATE = """\
<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}\
{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}\
{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}\
{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

ONEVISION_TEMPLATE = """\
{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}\
{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}\
{% endfor %}{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}\
{{ '\\n' + part['text'] }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN35_TEMPLATE = QWEN_TEMPLATE.replace(
    """<|im_start|>assistant
{% endif %}""",
    """<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% else %}<think>
{% endif %}{% endif %}""",
)
"""Ends as Qwen3.5's does: in an open thinking block, unless it is told not to think."""

GLM_TEMPLATE = """\
[gMASK]<sop>{% for message in messages %}<|{{ message['role'] }}|>
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] %}{% if part['type'] == 'image' %}\
<|begin_of_image|><|image|><|end_of_image|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}\
{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

INTERN_TEMPLATE = """\
{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}\
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}\
{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\
{{ '<|im_end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

GEMMA_TEMPLATE = """\
{{ bos_token }}{% for message in messages %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
{{ '<start_of_turn>' + role + '\\n' }}\
{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}\
{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<start_of_image>' }}\
{% elif part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}\
{{ '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

GEMMA4_TEMPLATE = """\
{{ bos_token }}{% for message in messages %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
{{ '<|turn>' + role + '\\n' }}\
{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}\
{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<|image|>' }}\
{% elif part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}\
{{ '<turn|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|turn>model\\n' }}\
{% if not enable_thinking | default(false) %}{{ '<|channel>thought\\n<channel|>' }}{% endif %}\
{% endif %}"""


class _Made(NamedTuple):
    """What a family's maker makes."""

    config: Any
    tokenizer: Any
    template: str
    files: dict[str, dict[str, Any]]
    """Settings of pictures, videos and the processor, by file name."""
    ends: list[int]
    """Tokens that end a reply."""


def checkpoint(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny random checkpoint of a family."""
    made = (FAMILIES | MIXTURES)[family]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.AutoModelForImageTextToText.from_config(made.config)
        for weight in model.parameters():  # fresh weights are too small to tell paths apart
            if weight.dim() > 1:
                weight.data.normal_(std=0.15)
        model.tie_weights()
    model.generation_config.eos_token_id = made.ends
    model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    if family in ("qwen2-vl", "qwen2.5-vl", "llava-onevision"):  # as the hub's are still written
        made.files["chat_template.json"] = {"chat_template": made.template}
    else:
        (folder / "chat_template.jinja").write_text(made.template, encoding="utf-8")
    for name, content in made.files.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    return folder


# Tokenizers.


def _pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary and its merges."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(made.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _qwen_tokenizer(*special: str, **named: str) -> Any:
    vocab, merges = _pairs()
    made = hf.Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named or None,
    )
    made.add_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special], special_tokens=True)
    return made


def _smol_tokenizer() -> Any:
    vocab, merges = _pairs()
    made = hf.GPT2Tokenizer(
        vocab=vocab,
        merges=merges,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    made.add_tokens(
        ["<fake_token_around_image>", "<image>", "<global-img>", *tiles], special_tokens=True
    )
    return made


def _gemma_tokenizer(turns: Sequence[str], **named: str) -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    made = Tokenizer(models.BPE())
    made.train_from_iterator(
        [word for line in LINES for word in line.replace(" ", "▁ ").split()],
        trainers.BpeTrainer(vocab_size=200, show_progress=False),
    )
    model = json.loads(made.to_str())["model"]
    known = [*special, *bytes_, *(word for word in model["vocab"] if word not in special)]
    tokenizer = hf.GemmaTokenizer(
        vocab={word: index for index, word in enumerate(known)},
        merges=[tuple(pair) for pair in model["merges"]],
        extra_special_tokens=named,
    )
    tokenizer.add_tokens([*turns, "\n", "\n\n"], special_tokens=True)
    return tokenizer


def _id(tokenizer: TokenizersBackend, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


# Families.


def _qwen(kind: str) -> _Made:
    vision_tokens = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    words = _qwen_tokenizer(*vision_tokens)
    start, end, image, video = (_id(words, token) for token in vision_tokens)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    text = TEXT | {"vocab_size": len(words), "tie_word_embeddings": kind != "2.5"}
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "hidden_size": 32}
    vision |= {"intermediate_size": 48, "out_hidden_size": 48}
    patch = 14
    if kind == "2":
        vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 48, "mlp_ratio": 2}
    elif kind == "2.5":
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    else:
        rope["mrope_interleaved"] = True
        text["head_dim"], patch = 12, 16
        vision |= {"depth": 3, "patch_size": 16, "num_position_embeddings": 64}
        vision["deepstack_visual_indexes"] = [0, 1]
    config = {"2": hf.Qwen2VLConfig, "2.5": hf.Qwen2_5_VLConfig, "3": hf.Qwen3VLConfig}[kind](
        text_config=text | {"rope_parameters": rope},
        vision_config=vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    processor = {"2": "Qwen2VLProcessor", "2.5": "Qwen2_5_VLProcessor", "3": "Qwen3VLProcessor"}
    pictures = {
        "image_processor_type": "Qwen2VLImageProcessor" + ("Fast" if kind == "3" else ""),
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }  # fmt: skip
    if kind == "3":  # as transformers 5 writes it: one file
        pictures["size"] = {"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
        videos = pictures | {"video_processor_type": "Qwen3VLVideoProcessor"}
        whole = {"image_processor": pictures, "video_processor": videos}
        files = {"processor_config.json": whole | {"processor_class": processor[kind]}}
    else:
        pictures |= {"min_pixels": 56 * 56, "max_pixels": 112 * 112}
        files = {"preprocessor_config.json": pictures | {"processor_class": processor[kind]}}
    ends = [_id(words, "<|im_end|>"), _id(words, "<|endoftext|>")]
    return _Made(config, words, QWEN_TEMPLATE, files, ends)


def _qwen35(moe: bool = False) -> _Made:
    """Qwen3.5: three layers with a linear token mixer, one with attention."""
    vision_tokens = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    words = _qwen_tokenizer(*vision_tokens)
    words.add_tokens(["<think>", "</think>"])  # text to the hub's tokenizer, not special
    made = _qwen("3")
    start, end, image, video = (_id(words, token) for token in vision_tokens)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    rope |= {"mrope_interleaved": True, "partial_rotary_factor": 0.5}
    text: dict[str, Any] = TEXT | {"vocab_size": len(words), "head_dim": 16, "num_hidden_layers": 4}
    text |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "rope_parameters": rope}
    text |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    if moe:
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
        text |= {"shared_expert_intermediate_size": 24}
    config = (hf.Qwen3_5MoeConfig if moe else hf.Qwen3_5Config)(
        text_config=text,
        vision_config={"model_type": "glm4v_vision", "depth": 2, "num_heads": 2}
        | {"hidden_size": 32, "intermediate_size": 48}
        | {"out_hidden_size": 48, "num_position_embeddings": 64},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )
    return made._replace(config=config, tokenizer=words, template=QWEN35_TEMPLATE)


def _qwen3_moe() -> _Made:
    made = _qwen("3")
    text = made.config.text_config.to_dict()
    text = {key: text[key] for key in (*TEXT, "vocab_size", "head_dim", "rope_parameters")}
    text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    ids = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    vision = made.config.vision_config.to_dict()
    vision.pop("model_type")
    config = hf.Qwen3VLMoeConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=False,
        **{name: getattr(made.config, name) for name in ids},
    )
    return made._replace(config=config)


def _glm(name: str) -> _Made:
    """GLM-4V and GLM-4.6V, whose MLPs have gate and up in one layer."""
    tokens = ("<|begin_of_image|>", "<|end_of_image|>", "<|image|>", "<|video|>")
    more = (
        "<|begin_of_video|>",
        "<|end_of_video|>",
        "[gMASK]",
        "<sop>",
        "<|user|>",
        "<|assistant|>",
    )
    words = _qwen_tokenizer(*tokens, *more)
    start, end, image, video = (_id(words, token) for token in tokens)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    config = getattr(hf, f"{name}Config")(
        text_config=TEXT
        | {"model_type": "glm4v_text"}
        | {"vocab_size": len(words), "rope_parameters": rope | {"partial_rotary_factor": 1.0}},
        vision_config={"model_type": "glm4v_vision", "depth": 2, "num_heads": 2}
        | {"hidden_size": 32, "intermediate_size": 48}
        | {"out_hidden_size": 48, "image_size": 112, "patch_size": 14},
        image_token_id=image,
        video_token_id=video,
        image_start_token_id=start,
        image_end_token_id=end,
        video_start_token_id=_id(words, "<|begin_of_video|>"),
        video_end_token_id=_id(words, "<|end_of_video|>"),
        tie_word_embeddings=False,
    )
    pictures = {
        "image_processor_type": f"{name}ImageProcessor",
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 56 * 56, "longest_edge": 112 * 112},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    files = {"preprocessor_config.json": pictures | {"processor_class": f"{name}Processor"}}
    return _Made(config, words, GLM_TEMPLATE, files, [_id(words, "<|user|>")])


def _smol(kind: str) -> _Made:
    """SmolVLM (an Idefics3) and SmolVLM2."""
    words = _smol_tokenizer()
    vision = VISION | {"image_size": 64, "patch_size": 16}
    text = TEXT | {
        "model_type": "llama",
        "vocab_size": len(words),
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "tie_word_embeddings": kind == "SmolVLM",
    }
    config = {"Idefics3": hf.Idefics3Config, "SmolVLM": hf.SmolVLMConfig}[kind](
        text_config=text,
        vision_config=vision,
        image_token_id=_id(words, "<image>"),
        scale_factor=2,
        tie_word_embeddings=kind == "SmolVLM",
    )
    pictures = {
        "image_processor_type": f"{kind}ImageProcessor",
        "do_image_splitting": True,
        "max_image_size": {"longest_edge": 64},
        "size": {"longest_edge": 128},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 1,
    }
    if kind == "SmolVLM":
        pictures["video_sampling"] = {"fps": 1, "max_frames": 64, "video_size": {}}
    name = {"processor_class": f"{kind}Processor"}
    files = {
        "preprocessor_config.json": pictures | name,
        "processor_config.json": name | {"image_seq_len": 4},
    }
    return _Made(config, words, SMOL_TEMPLATE, files, [words.eos_token_id])


def _onevision() -> _Made:
    words = _qwen_tokenizer("<image>", "<video>")
    pins = [[56, 56], [56, 112], [112, 56], [112, 112]]
    vision = VISION | {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14}
    config = hf.LlavaOnevisionConfig(
        text_config=TEXT
        | {"model_type": "qwen2", "vocab_size": len(words), "tie_word_embeddings": True},
        vision_config=vision | {"vision_use_head": False},
        image_token_index=_id(words, "<image>"),
        video_token_index=_id(words, "<video>"),
        image_grid_pinpoints=pins,
        vision_aspect_ratio="anyres_max_9",
        tie_word_embeddings=True,
    )
    pictures = {
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "image_grid_pinpoints": pins,
        "size": {"height": 56, "width": 56},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "do_pad": True,
    }
    name = {"processor_class": "LlavaOnevisionProcessor"}
    own = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    own |= {"image_token": "<image>", "video_token": "<video>"}
    files = {
        "preprocessor_config.json": pictures | name,
        "processor_config.json": own | name | {"vision_aspect_ratio": "anyres_max_9"},
        "video_preprocessor_config.json": {
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "size": {"height": 56, "width": 56},
        },
    }
    return _Made(config, words, ONEVISION_TEMPLATE, files, [_id(words, "<|im_end|>")])


def _intern(text: dict[str, Any] | None = None) -> _Made:
    """InternVL, by default upon a Qwen3, as InternVL3.5 is."""
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    words = _qwen_tokenizer(**named)
    config = hf.InternVLConfig(
        text_config=TEXT
        | {"vocab_size": len(words), "pad_token_id": words.pad_token_id}
        | (text or {"model_type": "qwen3", "head_dim": 12}),
        vision_config=VISION | {"image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=_id(words, "<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    pictures = {
        "image_processor_type": "GotOcr2ImageProcessor",
        "crop_to_patches": False,
        "min_patches": 1,
        "max_patches": 4,
        "size": {"height": 56, "width": 56},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    name = {"processor_class": "InternVLProcessor"}
    files = {
        "preprocessor_config.json": pictures | name,
        "processor_config.json": name | {"image_seq_length": 4},
        "video_preprocessor_config.json": {"video_processor_type": "InternVLVideoProcessor"},
    }
    return _Made(config, words, INTERN_TEMPLATE, files, [_id(words, "<|im_end|>")])


def _gemma() -> _Made:
    words = _gemma_tokenizer(
        ["<start_of_turn>", "<end_of_turn>"],
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    config = hf.Gemma3Config(
        text_config=TEXT
        | {
            "vocab_size": len(words),
            "head_dim": 12,
            "query_pre_attn_scalar": 12,
            "sliding_window": 24,
            "sliding_window_pattern": 2,
        },
        vision_config=VISION
        | {
            "model_type": "siglip_vision_model",
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        boi_token_index=_id(words, "<start_of_image>"),
        eoi_token_index=_id(words, "<end_of_image>"),
        image_token_index=_id(words, "<image_soft_token>"),
    )
    pictures = {
        "image_processor_type": "Gemma3ImageProcessor",
        "do_pan_and_scan": None,
        "size": {"height": 56, "width": 56},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    name = {"processor_class": "Gemma3Processor"}
    files = {
        "preprocessor_config.json": pictures | name | {"image_seq_length": 4},
        "processor_config.json": name | {"image_seq_length": 4},
    }
    return _Made(config, words, GEMMA_TEMPLATE, files, [1, _id(words, "<end_of_turn>")])


def _gemma4(text: dict[str, Any] | None = None) -> _Made:
    """With embeddings in every layer, keys that layers share, and no sounds."""
    words = _gemma_tokenizer(
        ["<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|video|>"],
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    own = {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "head_dim": 12, "sliding_window": 24}
    own |= {"vocab_size": len(words), "vocab_size_per_layer_input": len(words)}
    own |= {"hidden_size_per_layer_input": 8, "use_bidirectional_attention": "vision"}
    own |= {"layer_types": ["sliding_attention", "full_attention"] * 2, "global_head_dim": 16}
    named = {"image": "<|image|>", "boi": "<|image>", "eoi": "<image|>", "audio": "<|audio|>"}
    named |= {"boa": "<|audio>", "eoa": "<audio|>", "video": "<|video|>"}
    config = hf.Gemma4Config(
        text_config=TEXT | own | (text or {}),
        vision_config=VISION
        | {"num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "pooling_kernel_size": 2},
        audio_config=None,
        **{f"{name}_token_id": _id(words, token) for name, token in named.items()},
    )
    pictures = {
        "image_processor_type": "Gemma4ImageProcessor",
        "patch_size": 4,
        "pooling_kernel_size": 2,
        "max_soft_tokens": 70,
    }
    parts = {
        "processor_class": "Gemma4Processor",
        "image_seq_length": 70,
        "image_processor": pictures,
        "video_processor": {"video_processor_type": "Gemma4VideoProcessor"},
        "feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"},
    }
    files = {"processor_config.json": parts}
    return _Made(config, words, GEMMA4_TEMPLATE, files, [1, _id(words, "<turn|>")])


FAMILIES: dict[str, Callable[[], _Made]] = {
    "qwen2-vl": lambda: _qwen("2"),
    "qwen2.5-vl": lambda: _qwen("2.5"),
    "qwen3-vl": lambda: _qwen("3"),
    "smolvlm": lambda: _smol("Idefics3"),
    "smolvlm2": lambda: _smol("SmolVLM"),
    "llava-onevision": _onevision,
    "internvl": _intern,
    "gemma3": _gemma,
    "gemma4": _gemma4,
    "qwen3.5": _qwen35,
    "glm4v": lambda: _glm("Glm4v"),
    "glm4.6v": lambda: _glm("Glm46V"),
    "internvl-phi3": lambda: _intern({"model_type": "phi3"}),
    "internvl-lfm2": lambda: _intern(
        {"model_type": "lfm2", "layer_types": ["conv", "full_attention"], "block_multiple_of": 16}
    ),
}

MIXTURES: dict[str, Callable[[], _Made]] = {
    "qwen3-vl-moe": _qwen3_moe,
    "qwen3.5-moe": lambda: _qwen35(moe=True),
    "internvl-llama4": lambda: _intern(
        {"model_type": "llama4_text", "head_dim": 12, "intermediate_size_mlp": 64}
        | {"num_local_experts": 4, "moe_layers": [1]}
    ),
    "gemma4-moe": lambda: _gemma4(
        {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2}
        | {"moe_intermediate_size": 24, "hidden_size_per_layer_input": 0}
        | {"num_kv_shared_layers": 0, "attention_k_eq_v": True}
    ),
}
"""Families with experts. Llama 4's language model stands under InternVL's pictures, as its own
need torchvision."""


# What is asked.


def suite(folder: Path, tasks: Sequence[str] = ("Brighter", "Closer"), items: int = 4) -> Path:
    """Write a suite whose pictures differ in size and number: one, then two an item."""
    draw = np.random.default_rng(7)
    for place, task in enumerate(tasks):
        (folder / task).mkdir(parents=True)
        for split in ("train", "eval"):
            lines = []
            for index in range(items):
                names = []
                for number in range(1 + (index + place) % 2):
                    height, width = draw.integers(30, 150, 2)
                    pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
                    names.append(f"{split}-{index}-{number}.png")
                    Image.fromarray(pixels).save(folder / task / names[-1])
                choices = ["the first", "the second", "both"][: 2 + index % 2]
                line = {"id": f"{task}-{split}-{index}", "images": names, "choices": choices}
                line |= {
                    "question": "Which point is closer?" + " Select." * index,
                    "answer": "AB"[index % 2],
                }
                lines.append(json.dumps(line))
            (folder / task / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    heading = {"name": "made", "tasks": [{"name": task} for task in tasks]}
    (folder / "suite.yaml").write_text(yaml.safe_dump(heading), encoding="utf-8")
    return folder
