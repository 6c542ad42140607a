"""The bases' processor: a chat with PIL images as the tensors that the model takes.

Every square image is brought to 112 x 112 pixels. transformers cannot make a
`Qwen2_5_VLProcessor` where torchvision is missing, as its video part needs that; the folder
therefore names `PaddleOCRVLProcessor`, transformers' processor without a video part that writes
images into a prompt in the same way, one `<|image_pad|>` for each merged token.
"""

from typing import TYPE_CHECKING

from tools.glimpse_bases.tokenizer import CHAT_TEMPLATE, pretrained_tokenizer
from transferscope.engine.glimpse.prompt_layout import SIDE

if TYPE_CHECKING:
    from transformers import ProcessorMixin


def processor() -> "ProcessorMixin":
    """The processor of all three bases."""
    from transformers import PaddleOCRVLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    images = Qwen2VLImageProcessorPil(
        min_pixels=SIDE * SIDE,
        max_pixels=SIDE * SIDE + SIDE // 2,  # room for rounding, or 300 x 300 becomes 84 x 84
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return PaddleOCRVLProcessor(images, pretrained_tokenizer(), chat_template=CHAT_TEMPLATE)
