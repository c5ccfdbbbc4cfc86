"""Evaluation: what replies mean, benchmarks, a resumable runner, tables and paired tests.

Nothing is imported here; name the file: `from pmtools.evaluation.scenes import scene_items`.
"""
