"""Tiny random models of the architectures that users bring: two to four layers, a few thousand weights each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

VOCABULARY = 128


def _any(kind: Any) -> Any:
    """A class whose keywords its annotations do not name."""
    return kind


TOKENS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SHAPE: dict[str, Any] = TOKENS | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
HEADS: dict[str, Any] = SHAPE | {"head_dim": 8}
WINDOW = 8
"""Shorter than the tests' sequences, so that windowed and full layers differ."""
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR: dict[str, Any] = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
LATENT: dict[str, Any] = {
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
ALTERNATING: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
MAMBA2: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def _gemma3() -> Any:
    text = hf.Gemma3TextConfig(
        **HEADS, sliding_window=WINDOW, query_pre_attn_scalar=8, layer_types=["sliding_attention", "full_attention"]
    )
    return hf.Gemma3Config(text_config=text, vision_config=hf.SiglipVisionConfig(**VISION), mm_tokens_per_image=4)


CONFIGS: dict[str, Callable[[], Any]] = {
    "Llama 2": lambda: hf.LlamaConfig(**SHAPE),
    "Llama 3": lambda: hf.LlamaConfig(
        **SHAPE,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "Llama 4": lambda: hf.Llama4TextConfig(
        **HEADS,
        intermediate_size_mlp=48,
        num_local_experts=4,
        num_experts_per_tok=1,
        attention_chunk_size=WINDOW,
        no_rope_layers=[1, 0],
    ),
    "Qwen 2": lambda: hf.Qwen2Config(**SHAPE),
    "Qwen 2 MoE": lambda: hf.Qwen2MoeConfig(**SHAPE, **EXPERTS, num_experts=4, shared_expert_intermediate_size=16),
    "Qwen 3": lambda: hf.Qwen3Config(**HEADS),
    "Qwen 3 MoE": lambda: hf.Qwen3MoeConfig(**HEADS, **EXPERTS, num_experts=4),
    "Qwen 3 Next": lambda: hf.Qwen3NextConfig(
        **HEADS, **LINEAR, **EXPERTS, num_experts=4, shared_expert_intermediate_size=16
    ),
    "Qwen 3.5": lambda: hf.Qwen3_5TextConfig(**HEADS, **LINEAR),
    "Gemma 1": lambda: hf.GemmaConfig(**HEADS),
    "Gemma 2": lambda: hf.Gemma2Config(**HEADS, sliding_window=WINDOW),
    "Gemma 3 text": lambda: hf.Gemma3TextConfig(
        **HEADS, sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"]
    ),
    "Gemma 3": _gemma3,
    "Gemma 3n": lambda: hf.Gemma3nTextConfig(
        **HEADS | {"num_hidden_layers": 4, "intermediate_size": [48] * 4},
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        laurel_rank=4,
        altup_num_inputs=2,
        sliding_window=WINDOW,
        activation_sparsity_pattern=[0.0] * 4,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "Gemma 4": lambda: _any(hf.Gemma4TextConfig)(
        **HEADS | {"num_hidden_layers": 4},
        global_head_dim=8,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "Phi 2": lambda: hf.PhiConfig(**SHAPE),
    "Phi 3": lambda: hf.Phi3Config(**SHAPE),
    "Phi 3.5 MoE": lambda: hf.PhimoeConfig(**SHAPE, num_local_experts=4),
    "Mistral": lambda: hf.MistralConfig(**SHAPE, sliding_window=WINDOW),
    "Ministral": lambda: hf.MinistralConfig(**HEADS, **ALTERNATING),
    "Mixtral": lambda: hf.MixtralConfig(**SHAPE, num_local_experts=4),
    "SmolLM 3": lambda: hf.SmolLM3Config(**SHAPE, no_rope_layers=[1, 0]),
    "OLMo": lambda: hf.OlmoConfig(**SHAPE),
    "OLMo 2": lambda: hf.Olmo2Config(**SHAPE),
    "OLMo 3": lambda: hf.Olmo3Config(**SHAPE, **ALTERNATING),
    "OLMoE": lambda: hf.OlmoeConfig(**SHAPE, num_experts=4, num_experts_per_tok=2),
    "Granite 3": lambda: hf.GraniteConfig(
        **SHAPE, logits_scaling=2.0, residual_multiplier=0.5, embedding_multiplier=3.0, attention_multiplier=0.3
    ),
    "Granite MoE": lambda: hf.GraniteMoeConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2),
    "Granite 4": lambda: hf.GraniteMoeHybridConfig(
        **SHAPE, **MAMBA2, layer_types=["mamba", "attention"], shared_intermediate_size=48, num_local_experts=0
    ),
    "Bamba": lambda: hf.BambaConfig(**SHAPE, **MAMBA2, attn_layer_indices=[1]),
    "Falcon H1": lambda: hf.FalconH1Config(**HEADS, **MAMBA2, mamba_d_ssm=64),
    "Mamba": lambda: hf.MambaConfig(**TOKENS, hidden_size=32, num_hidden_layers=2, state_size=8),
    "Mamba 2": lambda: hf.Mamba2Config(
        **TOKENS,
        hidden_size=32,
        num_hidden_layers=2,
        state_size=8,
        num_heads=4,
        head_dim=16,
        expand=2,
        n_groups=1,
        chunk_size=8,
    ),
    "Falcon Mamba": lambda: hf.FalconMambaConfig(**TOKENS, hidden_size=32, num_hidden_layers=2, state_size=8),
    "LFM2": lambda: hf.Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"]),
    "RecurrentGemma": lambda: hf.RecurrentGemmaConfig(
        **HEADS | {"num_hidden_layers": 3},
        lru_width=32,
        attention_window_size=WINDOW,
        block_types=["recurrent", "recurrent", "attention"],
    ),
    "gpt-oss": lambda: hf.GptOssConfig(
        **HEADS,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "DeepSeek V2": lambda: hf.DeepseekV2Config(
        **SHAPE | {"num_key_value_heads": 4},
        **LATENT,
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=2,
        topk_group=1,
        topk_method="group_limited_greedy",
    ),
    "DeepSeek V3": lambda: hf.DeepseekV3Config(
        **SHAPE | {"num_key_value_heads": 4},
        **LATENT,
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=2,
        topk_group=1,
    ),
    "GLM 4": lambda: hf.GlmConfig(**HEADS),
    "GLM 4 0414": lambda: hf.Glm4Config(**HEADS),
    "GLM 4.5": lambda: hf.Glm4MoeConfig(
        **HEADS, **EXPERTS, n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1
    ),
    "Falcon": lambda: hf.FalconConfig(
        **TOKENS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        new_decoder_architecture=True,
        num_kv_heads=2,
        max_position_embeddings=256,
    ),
    "Falcon with ALiBi": lambda: hf.FalconConfig(
        **TOKENS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True, max_position_embeddings=256
    ),
    "OPT": lambda: hf.OPTConfig(
        **TOKENS,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        word_embed_proj_dim=32,
    ),
    "Bloom": lambda: hf.BloomConfig(**TOKENS, hidden_size=32, n_layer=2, n_head=4),
    "MPT": lambda: hf.MptConfig(**TOKENS, d_model=32, n_heads=4, n_layers=2, max_seq_len=256, expansion_ratio=2),
    "GPT-2": lambda: hf.GPT2Config(**TOKENS, n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "GPT-Neo": lambda: hf.GPTNeoConfig(
        **TOKENS,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=WINDOW,
        max_position_embeddings=256,
    ),
    "GPT-J": lambda: hf.GPTJConfig(**TOKENS, n_embd=32, n_layer=2, n_head=4, n_positions=256, rotary_dim=4),
    "GPT-NeoX": lambda: hf.GPTNeoXConfig(**SHAPE),
    "StarCoder 2": lambda: hf.Starcoder2Config(**SHAPE, sliding_window=WINDOW),
    "Cohere": lambda: hf.CohereConfig(**SHAPE, logit_scale=0.25),
    "Cohere 2": lambda: hf.Cohere2Config(**SHAPE, **ALTERNATING, logit_scale=0.25),
    "StableLM": lambda: hf.StableLmConfig(**SHAPE),
    "Nemotron": lambda: hf.NemotronConfig(**SHAPE),
    "EXAONE 4": lambda: hf.Exaone4Config(**SHAPE, **ALTERNATING),
    "ERNIE 4.5": lambda: hf.Ernie4_5Config(**SHAPE),
    "Hunyuan": lambda: hf.HunYuanDenseV1Config(**HEADS),
    "Seed OSS": lambda: hf.SeedOssConfig(**HEADS),
    "Apertus": lambda: hf.ApertusConfig(**SHAPE),
    "AFMoE": lambda: hf.AfmoeConfig(
        **HEADS,
        moe_intermediate_size=16,
        num_experts=4,
        num_experts_per_tok=2,
        num_dense_layers=1,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "BioGPT": lambda: hf.BioGptConfig(**SHAPE),
    "Jamba": lambda: hf.JambaConfig(
        **SHAPE,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        num_experts=2,
        mamba_d_state=8,
        mamba_d_conv=4,
        mamba_expand=2,
        use_mamba_kernels=False,
    ),
    "Zamba 2": lambda: _any(hf.Zamba2Config)(
        **SHAPE,
        mamba_d_state=8,
        mamba_d_conv=4,
        mamba_expand=2,
        mamba_ngroups=1,
        n_mamba_heads=4,
        mamba_headdim=16,
        chunk_size=8,
        layers_block_type=["mamba", "hybrid"],
        num_mem_blocks=1,
        use_mem_eff_path=False,
    ),
}


def model_of(family: str, seed: int = 0) -> Any:
    """A model with random weights that are far from uniform, in evaluation mode, float32."""
    config = CONFIGS[family]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "A_log" not in name:
                torch.nn.init.normal_(weight, std=0.25)
    return model.eval()
