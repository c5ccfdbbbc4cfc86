"""Evaluation: one folder a benchmark (`scenes`, `mme`, `pope`, `llava_bench`) on a small shared base.

Models answer in `model_answers` and `methods`; answers are kept by `answering` and `json_lines`; questions come from
`questions` and `picture_files`; `matching` assigns answers to questions, `answers` reads them, and `statistics` says
how certain the numbers are. This file imports nothing; name the file: `from pmtools.evaluation.scenes import
scene_items`.
"""
