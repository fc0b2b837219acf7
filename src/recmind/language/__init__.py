"""The frozen language model: loading, pooling, encoding, and the store of embeddings."""
