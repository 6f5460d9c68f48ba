"""What runs on devices: single files of the standard library, numpy and a runtime, copied as they are."""
