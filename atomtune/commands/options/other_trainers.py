"""Names that users of diffusers' scripts and of kohya's know, which here are something else.

Options that do the same have these names as `aliases`; the rest is answered with what to say instead.
"""

_NOT_NEEDED = "leave it out: it changes nothing here"
_MISSING = "leave it out: there is nothing of the kind here"
_NO_EPOCHS = "--steps: a step sees --batch-size times --grad-accum images"
_PUBLISH = "atomtune publish --concept NAME"
_LOADER = "leave it out: latents and captions are encoded once"
_ATTENTION = "leave it out: torch's own attention is used"
_MEMORY = "--low-memory, --gradient-checkpointing, or --precision bf16"
_LAUNCH = "accelerate launch -m atomtune train …; what is trained is too small to be shared out"
_KEPT = "leave it out: the atoms of every checkpoint are kept, and the state of the last one"
_BUCKETS = "leave it out: sizes are multiples of what the model needs, of about one area; --square for squares"
_MODEL_SAYS = "leave it out: what the model predicts is read from its scheduler"
_NO_SUCH_LOSS = "leave it out: the loss is the mean squared error; --min-snr-gamma, --timesteps and --masked weigh it"
_NO_SUCH_NOISE = "leave it out: of noise there is --noise-offset alone"
_TAGS = "leave it out: tags are what stands between commas; --shuffle-tags, --keep-tags N"
_CAPTIONS = "--prompt, and a .txt file beside each image; {} stands for the concept"
_TRACKER = "--tracker; W&B reads WANDB_API_KEY and its like"
_CARD = "atomtune publish, which writes the card, and atomtune export, which writes the keys that other programs read"
_SCHEDULES = "--lr-scheduler, --warmup, --lr-cycles, --lr-power"
_METHOD = "--method, and the options of each in docs/methods.md"
_ADAM = "--optimizer-arg betas=(0.9,0.999), or eps=1e-8"
_PRODIGY = "--optimizer-arg NAME=VALUE"
_TOKEN = "--token WORD, a rare word of the model; it begins as the model has it"
_PREVIEWS = "--sample-every N --sample-prompt PROMPT, given again for more"
_CACHE = "HF_HOME, of the hub's own cache; ATOMTUNE_CACHE is atomtune's"
_FILE = "--config FILE with [[concept]] tables"
_HELD_OUT = "--validate K, a number of images"

_ANSWERS: dict[str, str] = {
    _ADAM: "adam_beta1 adam_beta2 adam_epsilon",
    _ATTENTION: "enable_xformers_memory_efficient_attention mem_eff_attn sdpa xformers",
    _BUCKETS: "bucket_reso_steps max_bucket_reso min_bucket_reso",
    _CACHE: "cache_dir tokenizer_cache_dir",
    _CAPTIONS: (
        "caption_column caption_extension caption_extention caption_prefix caption_suffix image_column in_json "
        "learnable_property use_object_template use_style_template"
    ),
    _CARD: (
        "metadata_author metadata_description metadata_is_negative_embedding metadata_license metadata_merged_from "
        "metadata_preprocessor metadata_tags metadata_thumbnail metadata_title metadata_trigger_phrase "
        "metadata_usage_hint no_metadata training_comment"
    ),
    _FILE: "concepts_list dataset_config",
    _HELD_OUT: "validation_split",
    _KEPT: (
        "checkpoints_total_limit save_last_n_epochs save_last_n_epochs_state save_last_n_steps save_last_n_steps_state "
        "save_n_epoch_ratio"
    ),
    _LAUNCH: (
        "ddp_gradient_as_bucket_view ddp_static_graph ddp_timeout deepspeed local_rank offload_optimizer_device "
        "offload_optimizer_nvme_path offload_param_device offload_param_nvme_path zero3_init_flag "
        "zero3_save_16bit_model zero_stage fp16_master_weights_and_gradients"
    ),
    _LOADER: (
        "cache_info cache_latents cache_latents_to_disk cache_text_encoder_outputs cache_text_encoder_outputs_to_disk "
        "dataloader_num_workers dataset_class debug_dataset max_data_loader_n_workers persistent_data_loader_workers "
        "pre_compute_text_embeddings skip_cache_check text_encoder_batch_size vae_batch_size"
    ),
    _MEMORY: (
        "blocks_to_swap cpu_offload_checkpointing fp8_base fp8_base_unet full_bf16 full_fp16 fused_backward_pass "
        "highvram lowram no_half_vae"
    ),
    _METHOD: "network_args network_module use_dora",
    _MISSING: (
        "caption_tag_dropout_rate class_labels_conditioning clip_skip color_aug conditioning_data_dir "
        "face_crop_aug_range image_interpolation_mode lora_dropout max_token_length max_train_samples "
        "max_validation_steps network_dropout resize_interpolation sample_at_first scale_weight_norms "
        "token_warmup_min token_warmup_step validation_images weighted_captions"
    ),
    _MODEL_SAYS: "prediction_type v2 v_parameterization zero_terminal_snr do_edm_style_training",
    _NOT_NEEDED: (
        "async_upload console_log_file console_log_level console_log_simple disable_mmap_load_safetensors "
        "initial_epoch initial_step no_safe_serialization no_token_padding output_config set_grads_to_none "
        "skip_until_initial_step skip_save_text_encoder text_encoder_use_attention_mask tokenizer_max_length "
        "use_safetensors"
    ),
    _NO_EPOCHS: "max_train_epochs num_train_epochs",
    _NO_SUCH_LOSS: (
        "debiased_estimation_loss huber_c huber_scale huber_schedule loss_type scale_v_pred_loss_like_noise_pred "
        "v_pred_like_loss"
    ),
    _NO_SUCH_NOISE: (
        "adaptive_noise_scale ip_noise_gamma ip_noise_gamma_random_strength multires_noise_discount "
        "multires_noise_iterations noise_offset_random_strength offset_noise"
    ),
    _PREVIEWS: "num_validation_images sample_prompts",
    _PRODIGY: "prodigy_beta3 prodigy_decouple prodigy_safeguard_warmup prodigy_use_bias_correction",
    _PUBLISH: (
        "hub_model_id hub_token huggingface_path_in_repo huggingface_repo_id huggingface_repo_type "
        "huggingface_repo_visibility huggingface_token push_to_hub save_state_to_huggingface"
    ),
    _SCHEDULES: ("lr_decay_steps lr_scheduler_args lr_scheduler_min_lr_ratio lr_scheduler_timescale lr_scheduler_type"),
    _TAGS: "caption_separator keep_tokens_separator secondary_separator",
    _TOKEN: "init_word initializer_token modifier_token placeholder_token token_abstraction token_string weights",
    _TRACKER: "log_config log_prefix log_tracker_config log_tracker_name wandb_api_key wandb_run_name",
}

INSTEAD: dict[str, str] = {
    **{name: answer for answer, names in _ANSWERS.items() for name in names.split()},
    "adam_weight_decay_text_encoder": "--weight-decay, one for all that is trained",
    "allow_tf32": "torch.set_float32_matmul_precision; atomtune needs no option for it",
    "aspect_ratio_buckets": "leave it out: images keep their shapes, unless --square cuts them",
    "base_weights": "atomtune merge, and --model with the folder that it writes",
    "base_weights_multiplier": "atomtune merge --atoms FILE:SCALE, and --model with the folder that it writes",
    "bucket_no_upscale": "leave it out: prepare lists the images that are enlarged",
    "caption_dropout_every_n_epochs": "--caption-dropout P, a share of the examples",
    "center_crop": "--crop center, the default",
    "config_file": "--config FILE, in TOML",
    "dataset_config_name": "--images DIR, a folder of images",
    "dataset_name": "--images DIR, a folder of images",
    "dataset_repeats": "--steps; of several concepts, repeats in [[concept]]",
    "dim_from_weights": "--rank N; atomtune inspect FILE shows it",
    "dynamo_backend": "--compile",
    "enable_bucket": "leave it out: images keep their shapes, unless --square cuts them",
    "format": "--to lora for kohya, --to lora-diffusers for diffusers",
    "freeze_model": "--layers 'attention', or patterns of layers",
    "gradient_accumulation": "--grad-accum",
    "logging_dir": "--output: a tracker's files are in the run's folder",
    "logit_mean": "--timesteps logit-normal",
    "logit_std": "--timesteps logit-normal",
    "lora_weights": "--atoms FILE",
    "max_timestep": "--timesteps LOW-HIGH, as 200-800",
    "min_timestep": "--timesteps LOW-HIGH, as 200-800",
    "mode_scale": "--timesteps uniform, logit-normal or LOW-HIGH",
    "network_train_text_encoder_only": "--method textual-inversion, which trains the token alone",
    "network_train_unet_only": "leave it out: the text encoders are trained with --train-text-encoder alone",
    "noaug": "leave it out: images are mirrored with --flip alone",
    "num_new_tokens_per_abstraction": "--token-vectors N",
    "output_kohya_format": "atomtune export --to lora",
    "output_name": "--output DIR, or --concept NAME",
    "prior_generation_precision": "--precision, which class images are generated in too",
    "random_crop": "--crop random",
    "real_prior": "--prior-dir DIR",
    "resume_from_checkpoint": "--resume",
    "resume_from_huggingface": "--resume",
    "revision": "--model with a folder of that revision",
    "sample_batch_size": "leave it out: class images are generated four at a time",
    "sample_every_n_epochs": "--sample-every, in steps",
    "sample_sampler": "--scheduler",
    "sampler_name": "--scheduler",
    "save_as_full_pipeline": "atomtune merge",
    "save_every_n_epochs": "--checkpoint-every, in steps",
    "save_model_as": "atomtune export --to",
    "save_precision": "leave it out: atoms files are float16",
    "save_state": "--checkpoint-every",
    "save_state_on_train_end": "leave it out: the state at the end is always kept",
    "save_steps": "--checkpoint-every",
    "scale_lr": "--lr",
    "stop_text_encoder_training": "leave it out: text encoders are trained to the end, or not at all",
    "tokenizer_name": "--model",
    "train_data_dir": "--images DIR, the folder with the images itself; of several folders, --concept given again",
    "train_text_encoder_frac": "leave it out: text encoders are trained to the end, or not at all",
    "train_text_encoder_ti_frac": "leave it out: the token is trained to the end",
    "unet_lr": "--lr",
    "use_8bit_adam": "--optimizer adamw8bit",
    "use_lion_optimizer": "--optimizer pytorch_optimizer.Lion",
    "validate_every_n_epochs": "--validate-every, in steps",
    "validation_epochs": "--sample-every, in steps",
    "validation_scheduler": "leave it out: previews are generated with the model's own",
    "validation_seed": "--seed, from which it follows",
    "variant": "--precision",
}
"""What to say instead of a name that another trainer has."""


def instead(name: str) -> str:
    """What to do where another trainer's option `name` stands. KeyError where none is known."""
    answer = INSTEAD[name]
    return answer if answer.startswith("leave it out") else f"here it is {answer}"
