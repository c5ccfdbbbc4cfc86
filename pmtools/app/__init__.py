"""The web page, `pmtools app`: mark a region or ask the demo model, then see, change and undo the magnification.

| file | what it knows |
|---|---|
| `pictures.py` | image files within limits, and their copies for the browser |
| `marks.py` | points, boxes and brush strokes, and their heatmap |
| `actions.py` | settings, the warp, what is seen of it, files to download |
| `answers.py` | the demo model, one question at a time |
| `session.py` | one user's picture, marks, settings, and what can be undone |
| `words.py` | the texts of the page, as HTML |
| `views.py`, `page.py`, `server.py` | gradio; no other file does |
| `view.js`, `page.css` | the pictures in the browser, with crosshairs from the warp's knots, and the layout |

Needs the extra `app`; nothing else imports this package, and it uses only public functions of `pmtools`.
"""
