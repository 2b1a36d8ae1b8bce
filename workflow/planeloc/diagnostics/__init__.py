"""What a movie or a scene is like: brightness, density, spot width, depth ambiguity."""
