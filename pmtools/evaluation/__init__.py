"""Evaluation: one folder a benchmark (`scenes`, `reading`, `mme`, `pope`, `llava_bench`) on a small shared base.

Models answer in `model_answers` by the `methods`, a `batch` at a time; answers are kept by `answering` and `json_lines`;
questions come from `questions` and `picture_files`; `matching` assigns answers to questions, `answers` reads them,
`overlap` compares boxes, and `statistics` says how certain the numbers are. `lmms_samples` scores what lmms-eval wrote;
`calibration` finds where a model looks, on scenes or on `boxed_questions`. This file imports nothing; name the file:
`from pmtools.evaluation.scenes import scene_items`.
"""
