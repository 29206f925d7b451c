"""Tuning the LLM: a LoRA adapter for translation and alignment."""
