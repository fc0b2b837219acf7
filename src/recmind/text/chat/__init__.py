"""User texts by a chat model: prompts from training rows, an endpoint asked with patience, answers kept and checked."""
