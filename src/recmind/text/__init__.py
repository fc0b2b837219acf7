"""What is written about an item or a user before a language model reads it."""
