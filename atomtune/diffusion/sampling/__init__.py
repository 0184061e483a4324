"""From atoms files and prompts to pictures, or to a merged model."""
