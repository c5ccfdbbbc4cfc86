"""The web page, `pmtools app`: mark a region or ask the demo model, and see, move and undo the magnification.

| file | what it knows |
|---|---|
| `pictures.py` | image files within limits, and what the browser gets to see of them |
| `marks.py` | points, boxes and brush strokes, and the heatmap they mean |
| `actions.py` | settings, the warp, places on both images, files to download |
| `answers.py` | the demo model, one question at a time |
| `session.py` | one user's picture, marks and settings |
| `words.py` | what the page says, as HTML |
| `views.py`, `page.py`, `server.py` | gradio; no other file does |
| `view.js`, `page.css` | the pictures in the browser, and the layout |

Needs the extra `app`; nothing else imports this package, and it draws on the public functions of `pmtools` only.
"""
