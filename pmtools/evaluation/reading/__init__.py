"""Reading: can a pretrained reader, which never saw a warp, read small words of photographs and scans at a fixed input?

`photographs` and `signs` make pictures with words on signs, `pages` takes or sets pages of lines; `reader` is the OCR
that a package ships; `looks` are what each method shows it; `benchmark` runs them all, and `report` has
the statistics. Nothing is imported here; name the file.
"""
