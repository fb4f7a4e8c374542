"""Model families, each of a vision half and a language half that never meet."""
