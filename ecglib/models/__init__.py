"""Models of beats and of recordings, made as `Model(n_leads, n_samples, n_classes, **options)`: channels in, samples of
a beat or recording (`MIN_SAMPLES` or more), logits out. Options of dropout are shares, from 0 to below 1, of what is
dropped in training. What `forward` takes and gives stands in `registry.Entry`, and all sources in
`book/references.bib`."""
