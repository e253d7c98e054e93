# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The beats, looked at
#
# Before anything is learnt from them, a look at the records of the MIT-BIH Arrhythmia Database [@moody2001]: which
# beats there are, in which records, what they look like and how far apart they are.

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
in_book = True

database = "mitdb"

# %%
from IPython.display import Markdown

from ecglib import aami, config
from ecglib.data import beats, databases
from ecglib.data.catalogues import annotated, kaggle_csv
from ecglib.report import figures, tables, words

parameters = config.from_notebook(globals(), "explore")
source = databases.get(parameters.database)
kachuee = beats.load(source, "kachuee")
centred = beats.load(source, "centred")
Markdown(words.source(source, kachuee))

# %% [markdown]
# ## How many, of which class
#
# Most beats are normal. The rare classes are what a classifier is judged by, and what it has least of.

# %%
#| label: tbl-counts
#| tbl-cap: Annotated beats by AAMI class, in the two halves of the inter-patient protocol and in all records
Markdown(tables.counts(annotated.by_set(source)))

# %%
#| label: fig-balance
#| fig-cap: Class balance in both halves (logarithmic scale)
#| fig-alt: "Bars on a logarithmic scale: number of beats of each class, one panel for each half of the records"
figures.class_balance(annotated.by_set(source, sums=False))

# %% [markdown]
# ## Where the rare beats are
#
# Rare classes come from a few records. Holding records apart therefore tests on patients whose ectopic beats may look
# like none of the training set's; dividing the beats at random does not.

# %%
#| label: fig-records
#| fig-cap: Annotated beats of each record by class
#| fig-alt: "Stacked bars: number of beats of each record, coloured by class"
figures.beats_per_record(annotated.by_record(source))

# %%
Markdown(words.concentration(annotated.by_record(source)))

# %% [markdown]
# ## What a network is given
#
# The `kachuee` cut starts at the R peak and runs on to the next beat; its amplitude is scaled away [@kachuee2018].

# %%
#| label: fig-kachuee
#| fig-cap: Beats in the kachuee cut, by class; the mean of each class drawn thick
#| fig-alt: "Curves: some beats of each class over 1.5 seconds, scaled from 0 to 1, one panel a class"
figures.example_beats(kachuee.signals, kachuee.labels, aami.CLASSES, beats.RATE, unit="0..1", lead_names=["MLII"])

# %%
#| label: tbl-cut
#| tbl-cap: Beats that the kachuee cut gives; of the whole database, beside the published Kaggle set that it rebuilds
Markdown(tables.cut_counts(kachuee, {} if source.sample else kaggle_csv.COUNTS))

# %% [markdown]
# The `centred` cut keeps the amplitude and looks back to the previous beat.

# %%
#| label: fig-centred
#| fig-cap: Beats in the centred cut, by class; the R peak lies at zero
#| fig-alt: "Curves: some beats of each class in millivolts about their R peak, one panel a class"
figures.example_beats(
    centred.signals, centred.labels, aami.CLASSES, beats.RATE, lead_names=["MLII"], r_peak=beats.BEFORE
)

# %% [markdown]
# ## Rhythm
#
# A supraventricular ectopic beat often looks normal and gives itself away by coming early.

# %%
#| label: fig-rr
#| fig-cap: Interval to the previous beat, by class
#| fig-alt: "Histograms of the interval to the previous beat in seconds, one panel a class, the median dotted"
figures.rr_histogram({name: centred.features[centred.labels == i, 0] for i, name in enumerate(aami.CLASSES)})

# %% [markdown]
# ## On paper

# %%
#| label: fig-strip
#| fig-cap: Ten seconds of a record with beats of several classes, with the annotations of the cardiologists
#| fig-alt: "Trace of an ECG in millivolts over ten seconds; over each beat its symbol, coloured by class"
figures.record_strip(**annotated.busiest_strip(source, seconds=10))
