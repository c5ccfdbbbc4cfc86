"""Training of the demo model from nothing: `python -m training --out DIR`.

Read in this order: `views` (how a picture is changed), `batches` (what a step sees), `network` (the model and the fast
forward pass for many questions), `objectives` (what is learned), `__main__` (the schedule).
"""
