"""Soak: processes of real sweeps are killed, stopped and interrupted at random moments, then all is checked."""
