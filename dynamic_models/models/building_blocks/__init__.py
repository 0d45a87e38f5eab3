"""Provide what models are built from: networks, integrators, rigid-body frames, graphs, attention."""
