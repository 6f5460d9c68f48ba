"""Algorithms: capture, channel rules, coupling, surgery, proof and cost."""
