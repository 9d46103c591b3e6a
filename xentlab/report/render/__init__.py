"""Renderers: the last step from values to text. Each one escapes what its format would act on, and only here.

`page` is HTML, `markdown`, `latex` and `terminal` say so; all take the blocks of `xentlab.report.blocks`.
"""
