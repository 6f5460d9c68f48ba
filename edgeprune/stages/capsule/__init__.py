"""Capsule: make a folder that runs a runtime on a device from pinned packages, and pin them anew."""
