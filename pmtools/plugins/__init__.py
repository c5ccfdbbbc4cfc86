"""Plug-ins for servers: images that a request marks are magnified before the model sees them.

`pmtools.api.marked_urls` writes and reads the marks. vLLM finds its plug-in by an entry point; SGLang loads this package when
`SGLANG_EXTERNAL_MM_PROCESSOR_PACKAGE` names it. Nothing is imported here.
"""
