"""The compose file brought up for real: an engine, images, the whole stack, a sweep in it, and its end."""
