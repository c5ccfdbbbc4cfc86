"""Evaluation: one folder a benchmark (`scenes`, `mme`, `pope`, `llava_bench`) on a small shared base.

Who answers (`model_answers`, `methods`), where answers are kept (`answering`, `json_lines`), what is asked (`questions`,
`picture_files`), whose an answer is and what it says (`matching`, `answers`), and what the numbers are worth
(`statistics`). Nothing is imported here; name the file: `from pmtools.evaluation.scenes import scene_items`.
"""
