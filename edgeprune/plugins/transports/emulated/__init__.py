"""Transport `emulated`: a Debian system of the board's architecture, run by qemu in namespaces of its own."""
