"""What several test modules share: where things are, data with known truth, stand-ins for commands."""
