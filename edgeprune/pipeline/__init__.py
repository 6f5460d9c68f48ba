"""The only room that knows the order of the stages; each file is one way through them.

Nothing is imported here: shipping needs none of the engines that compressing does.
"""
