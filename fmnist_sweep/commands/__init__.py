"""What each command does, one file a command; nothing here parses options or chooses an exit code."""
