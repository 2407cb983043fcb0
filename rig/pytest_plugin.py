"""The pytest face of the rig."""
