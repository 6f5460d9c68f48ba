"""Packages of others: pinned by hash, downloaded by the machine's own pip and apt-get, kept in a cache."""
