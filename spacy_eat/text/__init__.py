"""Characters: folding, sentences, tokenizers."""
