"""This package names, places, composes, writes and reads scenes, and tells their objects apart."""
