"""Tuning: settings of a model chosen on the validation part, with the same budget for every model."""
