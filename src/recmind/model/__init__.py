"""The model: pure functions on tensors, and modules that only hold parameters."""
