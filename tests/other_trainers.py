"""The names of the options of other trainers, without dashes, as of February 2026."""

KOHYA = """
    adaptive_noise_scale alpha_mask async_upload base_weights base_weights_multiplier blocks_to_swap
    bucket_no_upscale bucket_reso_steps cache_info cache_latents cache_latents_to_disk
    cache_text_encoder_outputs cache_text_encoder_outputs_to_disk caption_dropout_every_n_epochs
    caption_dropout_rate caption_extension caption_extention caption_prefix caption_separator caption_suffix
    caption_tag_dropout_rate clip_skip color_aug conditioning_data_dir config_file console_log_file
    console_log_level console_log_simple cpu_offload_checkpointing dataset_class dataset_config dataset_repeats
    ddp_gradient_as_bucket_view ddp_static_graph ddp_timeout debiased_estimation_loss debug_dataset deepspeed
    dim_from_weights disable_mmap_load_safetensors dynamo_backend enable_bucket enable_wildcard
    face_crop_aug_range flip_aug fp16_master_weights_and_gradients fp8_base fp8_base_unet full_bf16 full_fp16
    fused_backward_pass gradient_accumulation_steps gradient_checkpointing highvram huber_c huber_scale
    huber_schedule huggingface_path_in_repo huggingface_repo_id huggingface_repo_type
    huggingface_repo_visibility huggingface_token in_json init_word initial_epoch initial_step ip_noise_gamma
    ip_noise_gamma_random_strength keep_tokens keep_tokens_separator learning_rate learning_rate_te log_config
    log_prefix log_tracker_config log_tracker_name log_with logging_dir logit_mean logit_std loss_type lowram
    lr_decay_steps lr_scheduler lr_scheduler_args lr_scheduler_min_lr_ratio lr_scheduler_num_cycles
    lr_scheduler_power lr_scheduler_timescale lr_scheduler_type lr_warmup_steps masked_loss max_bucket_reso
    max_data_loader_n_workers max_grad_norm max_timestep max_token_length max_train_epochs max_train_steps
    max_validation_steps mem_eff_attn metadata_author metadata_description metadata_is_negative_embedding
    metadata_license metadata_merged_from metadata_preprocessor metadata_tags metadata_thumbnail metadata_title
    metadata_trigger_phrase metadata_usage_hint min_bucket_reso min_snr_gamma min_timestep mixed_precision
    mode_scale multires_noise_discount multires_noise_iterations network_alpha network_args network_dim
    network_dropout network_module network_train_text_encoder_only network_train_unet_only network_weights
    no_half_vae no_metadata no_token_padding noise_offset noise_offset_random_strength num_vectors_per_token
    offload_optimizer_device offload_optimizer_nvme_path offload_param_device offload_param_nvme_path
    optimizer_args optimizer_type output_config output_dir output_name persistent_data_loader_workers
    pretrained_model_name_or_path prior_loss_weight random_crop reg_data_dir resize_interpolation resolution
    resume resume_from_huggingface sample_at_first sample_every_n_epochs sample_every_n_steps sample_prompts
    sample_sampler save_every_n_epochs save_every_n_steps save_last_n_epochs save_last_n_epochs_state
    save_last_n_steps save_last_n_steps_state save_model_as save_n_epoch_ratio save_precision save_state
    save_state_on_train_end save_state_to_huggingface scale_v_pred_loss_like_noise_pred scale_weight_norms sdpa
    secondary_separator seed shuffle_caption skip_cache_check skip_until_initial_step stop_text_encoder_training
    text_encoder_batch_size text_encoder_lr token_string token_warmup_min token_warmup_step tokenizer_cache_dir
    torch_compile train_batch_size train_data_dir training_comment unet_lr use_8bit_adam use_lion_optimizer
    use_object_template use_safetensors use_style_template v2 v_parameterization v_pred_like_loss vae
    vae_batch_size validate_every_n_epochs validate_every_n_steps validation_seed validation_split wandb_api_key
    wandb_run_name weighted_captions weighting_scheme weights xformers zero3_init_flag zero3_save_16bit_model
    zero_stage zero_terminal_snr
"""
"""Those of sd-scripts: train_network.py, train_db.py, train_textual_inversion.py, and what they share (48d368fa)."""

DIFFUSERS = """
    adam_beta1 adam_beta2 adam_epsilon adam_weight_decay adam_weight_decay_text_encoder allow_tf32 cache_dir
    cache_latents caption_column center_crop checkpointing_steps checkpoints_total_limit class_data_dir
    class_labels_conditioning class_prompt concepts_list dataloader_num_workers dataset_config_name dataset_name
    do_edm_style_training enable_xformers_memory_efficient_attention freeze_model gradient_accumulation_steps
    gradient_checkpointing hflip hub_model_id hub_token image_column image_interpolation_mode initializer_token
    instance_data_dir instance_prompt learnable_property learning_rate local_rank logging_dir lora_dropout
    lr_num_cycles lr_power lr_scheduler lr_warmup_steps max_grad_norm max_train_samples max_train_steps
    mixed_precision modifier_token no_safe_serialization noaug noise_offset num_class_images
    num_new_tokens_per_abstraction num_train_epochs num_validation_images num_vectors offset_noise optimizer
    output_dir output_kohya_format placeholder_token pre_compute_text_embeddings prediction_type
    pretrained_model_name_or_path pretrained_vae_model_name_or_path prior_generation_precision prior_loss_weight
    prodigy_beta3 prodigy_decouple prodigy_safeguard_warmup prodigy_use_bias_correction push_to_hub random_flip
    rank real_prior repeats report_to resolution resume_from_checkpoint revision sample_batch_size
    save_as_full_pipeline save_steps scale_lr seed set_grads_to_none skip_save_text_encoder snr_gamma
    text_encoder_lr text_encoder_use_attention_mask token_abstraction tokenizer_max_length tokenizer_name
    train_batch_size train_data_dir train_text_encoder train_text_encoder_frac train_text_encoder_ti
    train_text_encoder_ti_frac use_8bit_adam use_dora validation_epochs validation_images validation_prompt
    validation_scheduler validation_steps variant with_prior_preservation
"""
"""Those of the examples of DreamBooth (with LoRA, SDXL and pivotal tuning too), text-to-image LoRA, textual inversion,
and Custom Diffusion."""
