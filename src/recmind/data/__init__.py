"""Sources, preparation, the dataset and its splits."""
