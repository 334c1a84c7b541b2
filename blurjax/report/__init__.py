"""From results.json to sentences, figures, tables and one page. No jax."""
