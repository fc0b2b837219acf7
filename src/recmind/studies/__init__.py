"""Runners that compare models on one protocol.

A runner trains each model in a process of its own and does without torch itself, whose import takes seconds: what
computes with models (``cold``, ``few``, ``gates``, the refreshing of runs) is imported where it is called.
"""
