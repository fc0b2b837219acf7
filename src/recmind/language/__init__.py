"""The frozen language model: texts in, vectors out, and a store that keeps them."""
