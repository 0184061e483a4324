"""Models that describe images, in miniature and with random weights, as folders on the disk."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

WORDS = ["a", "dog", "castle", "on", "the", "beach", "snow", "tree"]
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def small_blip(folder: Path) -> Path:
    """A BLIP of one layer, which takes no text."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    layer = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {**layer, **ids, "vocab_size": len(vocabulary), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    config = BlipConfig(text_config=text, vision_config={**layer, "image_size": 32, "patch_size": 16})
    sides = {"height": 32, "width": 32}
    processor = BlipProcessor(BlipImageProcessor(size=sides), BertTokenizer(vocab=vocabulary))
    return _save(folder, lambda: BlipForConditionalGeneration(config), processor)


def small_florence(folder: Path) -> Path:
    """A Florence-2 of two stages, which is told its task."""
    tokenizer = _tokenizer(["<image>", "What", "does", "image", "describe", "?"], image_token="<image>")
    sides = {"height": 32, "width": 32}
    images = CLIPImageProcessor(size=sides, crop_size=sides, do_center_crop=False)
    images.image_seq_length = 5
    tasks = ("ocr", "phrase_grounding", "pure_text", "description_with_bboxes", "polygons", "bboxes")
    post: dict[str, Any] = {task: {} for task in tasks}
    post["ocr"] = {"pattern": "x", "area_threshold": 0.0}
    post["phrase_grounding"] = {"banned_grounding_tokens": []}
    post["description_with_bboxes_or_polygons"] = post["description_with_polygons"] = {}
    text = {
        "model_type": "bart",
        "vocab_size": len(tokenizer),
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "max_position_embeddings": 64,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "depths": (1, 1),
        "patch_size": (7, 3),
        "patch_stride": (4, 4),
        "patch_padding": (3, 1),
        "patch_prenorm": (False, True),
        "embed_dim": (8, 16),
        "num_heads": (2, 2),
        "num_groups": (2, 2),
        "window_size": 2,
        "projection_dim": 16,
        "max_temporal_embeddings": 4,
        "max_position_embeddings": 8,
    }
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=tokenizer.image_token_id)
    processor = Florence2Processor(images, tokenizer, post_processor_config=post)
    return _save(folder, lambda: Florence2ForConditionalGeneration(config), processor)


def small_qwen(folder: Path) -> Path:
    """A Qwen2.5-VL of one layer, which is talked to. Needs torchvision."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    marks = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "vision_start": "<|vision_start|>"}
    tokenizer = _tokenizer([*marks.values(), "<|vision_end|>", "user"], **marks)
    patches = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2}
    template = (
        "{% for m in messages %}{{ m.role }} {% for c in m.content %}{% if c.type == 'image' %} <|vision_start|> "
        "<|image_pad|> <|vision_end|> {% else %} {{ c.text }} {% endif %}{% endfor %}{% endfor %}"
    )
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**patches, min_pixels=64, max_pixels=1024),
        tokenizer,
        Qwen2VLVideoProcessor(**patches),
        chat_template=template,
    )
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "patch_size": 4,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "out_hidden_size": 16,
        "window_size": 16,
        "fullatt_block_indexes": [0],
    }
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    ids["vision_start_token_id"] = ids.pop("vision_start_id")
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    return _save(folder, lambda: Qwen2_5_VLForConditionalGeneration(config), processor)


def _tokenizer(more: list[str], **special: str) -> Any:
    vocabulary = {word: i for i, word in enumerate([*_SPECIAL, *more, *WORDS])}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), _SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=whole, extra_special_tokens=special, **names)


def _save(folder: Path, made: Any, processor: Any) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
